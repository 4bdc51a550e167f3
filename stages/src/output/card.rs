//! The dataset card: `README.md` beside the pairs, with the front matter that Hugging Face's hub and
//! `datasets.load_dataset` read, the pipeline that made the pairs, and the command that makes them again.

use std::path::Path;

use obvert_api::record::Pair;
use serde::Serialize;

use super::row::Row;
use super::shards::{self, Bounds};
use super::{CASES, Error, PairsSummary, llama_factory, template};
use crate::pairs::Terms;

/// What a card says.
#[derive(Clone, Debug, Default)]
pub struct CardFacts {
    /// Name of the data set: the pipeline's.
    pub name: String,
    /// Licence and languages, left out where none are named.
    pub terms: Terms,
    /// Name of the Parquet file beside the card, such as `pairs.parquet`; of a large set, of what stands in place of it.
    pub parquet: String,
    /// Name of the JSONL file beside the card; likewise.
    pub jsonl: String,
    /// Counts over all pairs.
    pub pairs: PairsSummary,
    /// A pair to show as a row.
    pub sample: Option<Pair>,
    /// Name of the pipeline file.
    pub pipeline_file: String,
    /// Its text.
    pub pipeline: String,
    /// What else decides the result, as (name, version): plugins, models, seeds.
    pub lock: Vec<(String, String)>,
    /// The command line that makes the data set again.
    pub rerun: String,
}

/// What the template sees.
#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    /// JSON texts are YAML texts.
    quoted_name: String,
    license: Option<String>,
    languages: Vec<String>,
    size: &'static str,
    parquet: String,
    quoted_parquet: String,
    jsonl: String,
    llama_factory: [String; 2],
    pairs: &'a PairsSummary,
    cases: [super::Case; 6],
    sample: Option<String>,
    pipeline_file: &'a str,
    pipeline: &'a str,
    lock: &'a [(String, String)],
    rerun: &'a str,
}

/// Writes `README.md` into `dir`.
pub fn write(dir: &Path, facts: &CardFacts) -> Result<(), Error> {
    let path = dir.join("README.md");
    let json = |text: &str| serde_json::to_string(text).map_err(Error::json(&path));
    let row = |pair: &Pair| serde_json::to_string_pretty(&Row::from(pair)).map_err(Error::json(&path));
    // The number of files is that of the sink of pairs.
    let files = Bounds::default().files(facts.pairs.pairs as usize);
    let names = |name: &str| name.rsplit_once('.').map_or(name.into(), |(stem, ext)| shards::pattern(stem, ext, files));
    let (parquet, jsonl) = (names(&facts.parquet), names(&facts.jsonl));
    let view = View {
        name: &facts.name,
        quoted_name: json(&facts.name)?,
        license: facts.terms.license.as_deref().map(json).transpose()?,
        languages: facts.terms.languages.iter().map(|code| json(code)).collect::<Result<_, _>>()?,
        size: size_category(facts.pairs.pairs),
        quoted_parquet: json(&parquet)?,
        parquet,
        jsonl,
        llama_factory: [llama_factory::DATASET.into(), llama_factory::rows_in(files)],
        pairs: &facts.pairs,
        cases: CASES,
        sample: facts.sample.as_ref().map(row).transpose()?,
        pipeline_file: &facts.pipeline_file,
        pipeline: &facts.pipeline,
        lock: &facts.lock,
        rerun: &facts.rerun,
    };
    template::write(&path, &[("card.md", include_str!("card.md"))], view)
}

/// The hub's size classes.
fn size_category(rows: u64) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        _ => "n>10M",
    }
}
