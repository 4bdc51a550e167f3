//! The composition root: arguments, registry, one verb.

mod verbs;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// From system prompts to noise-free preference pairs and a trained adapter, in one incremental dataflow.
#[derive(Parser)]
#[command(name = "obvert", version)]
struct Arguments {
    /// How it says what is going on.
    #[arg(long, global = true, value_enum, default_value_t)]
    log: verbs::said::Said,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a folder with a pipeline that runs at once.
    #[command(visible_alias = "create")]
    Init(verbs::init::Arguments),
    /// Run a pipeline; an interrupted run continues where it was.
    Run(verbs::run::Arguments),
    /// Show what a run does, as it changes: in a terminal, or once as lines.
    Top(verbs::top::Top),
    /// Show a run in the browser.
    #[cfg(feature = "ui")]
    Ui(verbs::ui::Arguments),
    /// Print what a stage of a run makes, as it makes it, as lines of JSON.
    Tap(verbs::top::Tap),
    /// Pause, resume or drain a run.
    Steer(verbs::top::Steer),
    /// Check a pipeline and report every error in it.
    #[command(visible_aliases = ["validate", "lint"])]
    Check {
        /// The pipeline file.
        #[arg(default_value = verbs::PIPELINE)]
        pipeline: PathBuf,
        /// Override a value: stage.key=value.
        #[arg(long)]
        set: Vec<String>,
        /// Refuse plugins that the pipeline does not pin to a hash.
        #[arg(long)]
        locked: bool,
    },
    /// Pin the plugins of a pipeline file to what they are now: it is refused once they are others.
    Lock {
        /// The pipeline file; it is changed.
        #[arg(default_value = verbs::PIPELINE)]
        pipeline: PathBuf,
    },
    /// Show what every stage makes of a few rows; no sink writes, nothing is trained.
    Preview(verbs::preview::Arguments),
    /// Run the tests that a pipeline carries.
    #[command(override_usage = "obvert test [OPTIONS] [PIPELINE] [FILTER]")]
    Test(verbs::test::Arguments),
    /// Say which model calls a record asks for, whether the memo has them, and if not, what differs.
    #[command(override_usage = "obvert explain [OPTIONS] [PIPELINE] <ID>")]
    Explain(verbs::about::Arguments),
    /// Say where a record comes from and what became of it: turns, calls, responses, verdicts, the updates that it was trained in, or why
    /// it was set aside.
    #[command(override_usage = "obvert trace [OPTIONS] [PIPELINE] <ID>")]
    Trace(verbs::trace::Arguments),
    /// Show what a run's memo of model calls holds, or prune it.
    Memo(verbs::memo::Arguments),
    /// Ask the models of a pipeline whether they are there, and what they can do.
    Doctor {
        /// The pipeline file.
        #[arg(default_value = verbs::PIPELINE)]
        pipeline: PathBuf,
        /// Override a value: stage.key=value.
        #[arg(long)]
        set: Vec<String>,
    },
    /// Draw a pipeline.
    #[command(visible_alias = "visualize")]
    Graph {
        /// The pipeline file.
        #[arg(default_value = verbs::PIPELINE)]
        pipeline: PathBuf,
        /// The drawing's language.
        #[arg(long, value_enum, default_value_t)]
        format: verbs::graph::Format,
    },
    /// Print the JSON schema of pipeline files: with it editors complete and check them.
    Schema {
        /// A pipeline whose plugins are to be in it.
        pipeline: Option<PathBuf>,
    },
    /// Make something that is one's own.
    #[command(subcommand)]
    New(verbs::new::What),
    /// Look at plugins.
    #[command(subcommand)]
    Plugin(verbs::plugin::What),
    /// Run a stage for another process of this program (see `isolation` in pipelines).
    #[command(hide = true)]
    StageProcess {
        /// The plugin library.
        library: PathBuf,
    },
    /// Print a shell's completions, to be sourced by it.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write manual pages.
    Man {
        /// The folder of the pages.
        folder: PathBuf,
    },
    /// Fine-tune an adapter on a file of pairs.
    Train(Box<verbs::train::Arguments>),
    /// Print how much of a GPU's memory training a model takes; no GPU is needed.
    Memory(verbs::memory::Arguments),
    /// Print the log-probs of a batch of pairs under a model and its adapter, as JSON.
    Logprobs(verbs::logprobs::Arguments),
    /// Write pairs as another trainer reads them, each checked by its rules, with a configuration that trains on them.
    Export(verbs::export::Arguments),
    /// Score responses or verdicts as a benchmark's own scorer does.
    #[command(subcommand)]
    Eval(verbs::eval::Benchmark),
    /// Write a model with its adapter merged into its weights.
    Merge(verbs::merge::Arguments),
}

/// A reader that has seen enough (`| head`) is no failure of what is printed.
fn end_with_the_reader() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        if text.is_some_and(|text| text.starts_with("failed printing to stdout: Broken pipe")) {
            std::process::exit(0);
        }
        otherwise(panic);
    }));
}

/// Exit codes: 0 done, 1 failed while running, 2 wrong usage or pipeline.
fn main() -> ExitCode {
    end_with_the_reader();
    let Arguments { log, verb } = Arguments::parse();
    log.begin();
    match done(verb, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.failed(&error);
            ExitCode::from(if error.is::<verbs::Refused>() { 2 } else { 1 })
        }
    }
}

fn done(verb: Verb, log: verbs::said::Said) -> anyhow::Result<()> {
    match verb {
        Verb::Init(arguments) => verbs::init::init(&arguments),
        Verb::Run(arguments) => verbs::run::run(&arguments, log),
        Verb::Top(arguments) => verbs::top::top(&arguments),
        #[cfg(feature = "ui")]
        Verb::Ui(arguments) => verbs::ui::ui(&arguments),
        Verb::Tap(arguments) => verbs::top::tap(&arguments),
        Verb::Steer(arguments) => verbs::top::steer(&arguments),
        Verb::Check { pipeline, set, locked } => verbs::graph::check(&pipeline, &set, verbs::Trust::of(locked)),
        Verb::Lock { pipeline } => verbs::lock(&pipeline),
        Verb::Doctor { pipeline, set } => verbs::doctor::doctor(&pipeline, &set),
        Verb::Graph { pipeline, format } => verbs::graph::graph(&pipeline, format),
        Verb::Preview(arguments) => verbs::preview::preview(&arguments),
        Verb::Test(arguments) => verbs::test::test(&arguments),
        Verb::Explain(arguments) => verbs::explain::explain(&arguments),
        Verb::Trace(arguments) => verbs::trace::trace(&arguments),
        Verb::Memo(arguments) => verbs::memo::memo(&arguments),
        Verb::Schema { pipeline } => verbs::graph::schema(pipeline.as_deref()),
        Verb::New(what) => verbs::new::new(&what),
        Verb::Plugin(what) => verbs::plugin::plugin(&what),
        Verb::StageProcess { library } => verbs::stage_process(&library),
        Verb::Completions { shell } => verbs::shell::completions(shell, Arguments::command()),
        Verb::Man { folder } => verbs::shell::man(&folder, Arguments::command()),
        Verb::Train(arguments) => verbs::train::train(&arguments),
        Verb::Memory(arguments) => verbs::memory::memory(&arguments),
        Verb::Logprobs(arguments) => verbs::logprobs::run(&arguments),
        Verb::Export(arguments) => verbs::export::export(&arguments),
        Verb::Eval(benchmark) => verbs::eval::eval(&benchmark),
        Verb::Merge(arguments) => verbs::merge::merge(&arguments),
    }
}
