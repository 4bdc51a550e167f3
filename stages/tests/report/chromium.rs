//! Runs a browser without a window: Debian's chromium, or the one that `OBVERT_CHROMIUM` names.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Chromium(PathBuf);

/// What a page became.
pub struct Opened {
    /// After its scripts have run.
    pub dom: String,
    /// What was said on its console.
    pub console: Vec<String>,
}

impl Chromium {
    /// The browser; a test that needs it says that it skips.
    pub fn find(test: &str) -> Option<Chromium> {
        let named = env::var_os("OBVERT_CHROMIUM").map(PathBuf::from);
        let found = named.or_else(|| ["chromium", "chromium-browser"].iter().find_map(|name| on_path(name)));
        if found.is_none() {
            eprintln!("SKIPPED: {test}: no chromium (OBVERT_CHROMIUM)");
        }
        found.map(Chromium)
    }

    /// Opens a page of a folder, which is the browser's own, too.
    pub fn open(&self, folder: &Path, page: &str) -> Opened {
        let (dom, said) = self.run(folder, page, &["--dump-dom", "--virtual-time-budget=20000"]);
        let console = said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
        Opened { dom, console }
    }

    /// Prints it; the file's bytes.
    pub fn print(&self, folder: &Path, page: &str) -> Vec<u8> {
        let to = folder.join("print.pdf");
        self.run(folder, page, &[&format!("--print-to-pdf={}", to.display()), "--no-pdf-header-footer"]);
        std::fs::read(to).unwrap()
    }

    fn run(&self, folder: &Path, page: &str, what: &[&str]) -> (String, String) {
        // There is no display, no GPU, and in a container neither a sandbox nor much of /dev/shm. A phone's scrollbars take no room.
        let settings = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
        ];
        let mut command = Command::new(&self.0);
        command.args(settings).args(["--enable-logging=stderr", "--v=0"]).args(what);
        command.arg(format!("--user-data-dir={}", folder.join("browser").display()));
        let ran = command.arg(format!("file://{}", folder.join(page).display())).output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        assert!(ran.status.success(), "{:?}: {}", ran.status, text(&ran.stderr));
        (text(&ran.stdout), text(&ran.stderr))
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
