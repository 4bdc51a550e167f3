//! Random small pipelines of toys.

use obvert_trainer::random::SplitMix64;

/// Names of the two sources.
pub const SOURCES: [&str; 2] = ["a", "b"];

/// A stage; its name is `s` and its index.
#[derive(Clone, Debug)]
pub struct Stage {
    pub does: Does,
    pub from: Vec<Input>,
    pub with: Option<Input>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Does {
    Shift(u32),
    Ask,
    Gather,
    Collect,
}

/// Where records come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    Source(usize),
    Stage(usize),
}

/// Stages after each other; what nobody reads has a sink.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub stages: Vec<Stage>,
}

impl Input {
    fn name(self) -> String {
        match self {
            Input::Source(index) => SOURCES[index].to_string(),
            Input::Stage(index) => format!("s{index}"),
        }
    }
}

impl Pipeline {
    /// Up to five stages, most of which read the last one, and some another one too, or instead.
    pub fn random(random: &mut SplitMix64) -> Self {
        let count = 1 + random.below(5);
        let mut stages: Vec<Stage> = Vec::new();
        for index in 0..count {
            let does = match random.below(5) {
                0 => Does::Shift(random.below(7) as u32),
                1 | 2 => Does::Ask,
                3 => Does::Gather,
                _ => Does::Collect,
            };
            let mut from = vec![index.checked_sub(1).map_or(Input::Source(0), Input::Stage)];
            match random.below(5) {
                0 if index > 0 => from.push(earlier(random, index - 1)),
                1 if index > 0 => from = vec![earlier(random, index - 1)],
                _ => {}
            }
            let groups = matches!(does, Does::Gather | Does::Collect);
            let with = groups.then(|| if index == 0 { Input::Source(1) } else { earlier(random, index - 1) });
            stages.push(Stage { does, from, with });
        }
        // Both sources are read.
        if !stages.iter().any(|stage| stage.with == Some(Input::Source(1)) || stage.from.contains(&Input::Source(1))) {
            stages[0].from.push(Input::Source(1));
        }
        Pipeline { stages }
    }

    /// Stages that nobody reads.
    pub fn ends(&self) -> Vec<usize> {
        let is_read = |index| self.stages.iter().any(|stage| stage.from.contains(&Input::Stage(index)));
        (0..self.stages.len()).filter(|index| !is_read(*index)).collect()
    }

    /// As a file, with a library of toys and a window of so many records.
    pub fn toml(&self, library: &str, window: usize) -> String {
        let mut text = format!(
            "name = \"toys\"\nplugins = [{library:?}]\n\n[run]\nrecords = {window}\nmax_failures = 10000\n\
             max_failure_share = 1.0\n\n[model.m]\nkind = \"scripted\"\n\
             latency_ms = 3\nmax_in_flight = 4\nlog = \"calls.log\"\n[[model.m.rule]]\nmatch = \"what of k[0-8] (?P<n>[0-9]+)\"\n\
             reply = \"{{{{ ['yes', 'no', 'perhaps', 'who knows'] | toss }}}} {{{{ n }}}}\"\n"
        );
        for source in SOURCES {
            text += &format!("\n[stage.{source}]\ntype = \"rows\"\npath = \"{source}.jsonl\"\n");
        }
        for (index, stage) in self.stages.iter().enumerate() {
            text += &stage.toml(index);
        }
        for index in self.ends() {
            text += &format!("\n[stage.out{index}]\ntype = \"jsonl\"\nfrom = \"s{index}\"\n");
        }
        text
    }
}

fn earlier(random: &mut SplitMix64, last: usize) -> Input {
    match random.below(last + 2) {
        0 => Input::Source(0),
        1 => Input::Source(1),
        index => Input::Stage(index - 2),
    }
}

impl Stage {
    fn toml(&self, index: usize) -> String {
        let (kind, settings) = match self.does {
            Does::Shift(by) => ("toy-shift", format!("by = {by}\n")),
            Does::Ask => ("toy-ask", "model = \"m\"\n".into()),
            Does::Gather => ("toy-gather", format!("name = \"g{index}\"\n")),
            Does::Collect => ("toy-collect", "model = \"m\"\n".into()),
        };
        let from: Vec<_> = self.from.iter().map(|input| input.name()).collect();
        let with = self.with.map(|input| format!("with = {:?}\n", input.name())).unwrap_or_default();
        format!("\n[stage.s{index}]\ntype = \"{kind}\"\nfrom = {from:?}\n{with}{settings}")
    }
}
