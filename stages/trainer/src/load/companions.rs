//! What stands beside the weights in a Hugging Face folder: copied from one, or written from a GGUF file's metadata.

use serde_json::{Value as Json, json};

use super::folder::Folder;
use super::gguf::GgufFile;
use super::{Checkpoint, Format, Tokenizer, chat};
use crate::{Config, Error, Family};

/// The files of a folder besides config.json and the weights, as the versions of transformers name them.
pub const COMPANIONS: [&str; 9] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
];

/// Everything of a Hugging Face folder but the weights.
pub struct Companions {
    /// config.json.
    pub config: Json,
    /// The other files, by name.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// Why a file that belongs there could not be made.
    pub left_out: Vec<Error>,
}

impl Checkpoint {
    /// The files that go beside this model's weights.
    ///
    /// # Errors
    /// When a file of a folder cannot be read any more.
    pub fn companions(&self) -> Result<Companions, Error> {
        match &self.format {
            Format::Folder(folder) => copied(folder),
            Format::Gguf(file) => Ok(composed(file, &self.config)),
        }
    }
}

fn copied(folder: &Folder) -> Result<Companions, Error> {
    let present = COMPANIONS.iter().filter_map(|name| match folder.companion(name) {
        Ok(bytes) => bytes.map(|bytes| Ok((*name, bytes))),
        Err(error) => Some(Err(error)),
    });
    Ok(Companions { config: folder.config_json()?, files: present.collect::<Result<_, _>>()?, left_out: Vec::new() })
}

fn composed(file: &GgufFile, config: &Config) -> Companions {
    let pretty = |json: Json| format!("{json:#}\n").into_bytes();
    let generation = json!({ "bos_token_id": config.bos, "eos_token_id": config.eos });
    let mut files = vec![("generation_config.json", pretty(generation))];
    if let Some(template) = file.text(chat::GGUF_TEMPLATE) {
        files.push(("chat_template.jinja", template.into()));
    }
    let tokenizer = Tokenizer::open(&file.source.path).and_then(|tokenizer| tokenizer.to_json());
    let left_out = match tokenizer {
        Ok(tokenizer) => {
            files.push(("tokenizer.json", tokenizer.into_bytes()));
            files.push(("tokenizer_config.json", pretty(tokenizer_config(file, config))));
            Vec::new()
        }
        Err(error) => vec![Error::field("tokenizer.json", error)],
    };
    Companions { config: config_json(config), files, left_out }
}

fn tokenizer_config(file: &GgufFile, config: &Config) -> Json {
    let mut json = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_positions,
        "clean_up_tokenization_spaces": false,
    });
    chat::gguf_variables(file).into_iter().for_each(|(name, text)| json[name] = Json::from(text));
    json
}

/// A config.json in the older form, which every version of transformers reads.
fn config_json(config: &Config) -> Json {
    let architecture = match config.family {
        Family::Llama => "LlamaForCausalLM",
        Family::Qwen2 => "Qwen2ForCausalLM",
    };
    let mut json = json!({
        "architectures": [architecture],
        "model_type": config.family.name(),
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.ffn,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "max_position_embeddings": config.max_positions,
        "tie_word_embeddings": config.tied,
        "bos_token_id": config.bos,
        "eos_token_id": config.eos,
    });
    if let Some(scaling) = config.rope_scaling {
        json["rope_scaling"] = json!({
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_positions,
        });
    }
    json
}
