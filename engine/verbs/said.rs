//! What the program says beside its results, on the standard error, and how.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How it says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Said {
    /// For people: bars on a terminal, else lines; warnings.
    #[default]
    Text,
    /// For programs: a JSON object a line; progress, too.
    Json,
    /// Errors alone, and no account at the end of a run.
    Quiet,
}

/// What progress is called in logs.
pub const PROGRESS: &str = "progress";

impl Said {
    /// Begins to say it. OBVERT_LOG names what is worth saying, otherwise warnings are.
    pub fn begin(self) {
        let usual = match self {
            Said::Text => "warn".to_owned(),
            Said::Json => format!("warn,{PROGRESS}=info,rejected=info"),
            Said::Quiet => "error".to_owned(),
        };
        let filter = EnvFilter::try_from_env("OBVERT_LOG").unwrap_or_else(|_| usual.into());
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        if let Some(name) = self.to_possible_value() {
            obvert_engine::stage::process::start_with(&["--log", name.get_name()]);
        }
        match self {
            Said::Json => log.json().flatten_event(true).init(),
            Said::Text | Said::Quiet => log.without_time().init(),
        }
    }
}
