//! What the program says beside its results, on the standard error, and how.

use std::io::Write;

use clap::ValueEnum;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use super::Refused;

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
    /// Says why the program fails.
    pub fn failed(self, error: &anyhow::Error) {
        // What is refused shows where, in lines of its own.
        match error.downcast_ref::<Refused>() {
            Some(refused) => self.tell(&refused.to_string()),
            None => self.tell(&format!("error: {error:#}")),
        }
    }

    /// Says what no filter may keep back. Whoever reads it may have gone.
    pub fn tell(self, text: &str) {
        let line = if self == Said::Json {
            let message = text.strip_prefix("error: ").unwrap_or(text);
            let timestamp = jiff::Timestamp::now().to_string();
            json!({ "timestamp": timestamp, "level": "ERROR", "target": "failed", "message": message }).to_string()
        } else {
            text.to_owned()
        };
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// Begins to say it. OBVERT_LOG names what is worth saying, otherwise warnings are.
    pub fn begin(self) {
        let usual = match self {
            Said::Text => "warn".to_owned(),
            Said::Json => format!("warn,{PROGRESS}=info,rejected=info"),
            Said::Quiet => "error".to_owned(),
        };
        let filter = EnvFilter::try_from_env("OBVERT_LOG").unwrap_or_else(|_| usual.into());
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        // Whoever reads it may have gone: what is said then is not worth a panic in a stage.
        let log = log.log_internal_errors(false);
        if let Some(name) = self.to_possible_value() {
            obvert_engine::stage::process::start_with(&["--log", name.get_name()]);
        }
        match self {
            Said::Json => log.json().flatten_event(true).init(),
            Said::Text | Said::Quiet => log.without_time().init(),
        }
    }
}
