//! The shape of a decoder, as Hugging Face's `config.json` states it.
//!
//! Two forms are read: the older one (`rope_theta` and `rope_scaling` at the top) and the newer one
//! (`rope_parameters`). What the trainer cannot compute exactly is refused by name rather than ignored.

use serde_json::Value;

use crate::error::Error;

/// The architectures that are implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Llama 2, 3, 3.1 and look-alikes (SmolLM2): no biases.
    Llama,
    /// Qwen2 and 2.5: biases on queries, keys and values.
    Qwen2,
}

impl Family {
    /// As `model_type` of a config.json and `general.architecture` of a GGUF file have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        }
    }
}

/// Llama 3.1's stretching of the slow rotary frequencies.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Llama3Scaling {
    /// How many times longer the context became.
    pub factor: f64,
    /// Wavelengths above `original_max_positions / low_freq_factor` are stretched by `factor`.
    pub low_freq_factor: f64,
    /// Wavelengths below `original_max_positions / high_freq_factor` stay.
    pub high_freq_factor: f64,
    /// The context before stretching, in tokens.
    pub original_max_positions: usize,
}

/// The shape of a decoder and the constants of its operations.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// The architecture.
    pub family: Family,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Size of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads per block.
    pub heads: usize,
    /// Key and value heads per block; divides `heads`.
    pub kv_heads: usize,
    /// Size of one head; even.
    pub head_dim: usize,
    /// Inner size of the feed-forward block.
    pub ffn: usize,
    /// The constant under the root of RMSNorm.
    pub norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Llama 3.1's frequency scaling, where the model uses it.
    pub rope_scaling: Option<Llama3Scaling>,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// The longest sequence the model was made for, in tokens.
    pub max_positions: usize,
    /// The token that opens a text.
    pub bos: Option<u32>,
    /// The tokens that end a text.
    pub eos: Vec<u32>,
}

/// Larger sizes than this are taken for a damaged file; products of three stay within 64 bits.
const MAX_SIZE: usize = 1 << 20;

impl Config {
    /// Reads the contents of a `config.json`.
    ///
    /// # Errors
    /// Names the field that is missing, senseless, or asks for something that is not implemented.
    pub fn from_json(json: &Value) -> Result<Self, Error> {
        let family = family(json)?;
        refuse_unsupported(json)?;
        let hidden = size(json, "hidden_size", None)?;
        let heads = size(json, "num_attention_heads", None)?;
        let defaults = match family {
            Family::Llama => 2_048,
            Family::Qwen2 => 32_768,
        };
        let config = Self {
            family,
            vocab_size: size(json, "vocab_size", None)?,
            hidden,
            layers: size(json, "num_hidden_layers", None)?,
            heads,
            kv_heads: size(json, "num_key_value_heads", Some(heads))?,
            head_dim: head_dim(json, hidden, heads)?,
            ffn: size(json, "intermediate_size", None)?,
            norm_eps: number(json, "rms_norm_eps", Some(1e-6))?,
            rope_theta: rope_theta(json)?,
            rope_scaling: rope_scaling(json)?,
            tied: flag(json, "tie_word_embeddings")?,
            qkv_bias: family == Family::Qwen2,
            max_positions: size_up_to(json, "max_position_embeddings", Some(defaults), 1 << 30)?,
            bos: token_ids_of(json, "bos_token_id")?.first().copied(),
            eos: token_ids_of(json, "eos_token_id")?,
        };
        config.check()?;
        Ok(config)
    }

    /// Checks what the fields must hold among each other; readers of other formats call it too.
    ///
    /// # Errors
    /// Names the field and the rule it breaks.
    pub fn check(&self) -> Result<(), Error> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.ffn),
        ];
        for (field, value) in sizes {
            within(field, value as u64, MAX_SIZE)?;
        }
        within("max_position_embeddings", self.max_positions as u64, 1 << 30)?;
        if !self.heads.is_multiple_of(self.kv_heads) {
            let reason = format!("{} does not divide the {} attention heads", self.kv_heads, self.heads);
            return Err(Error::field("num_key_value_heads", reason));
        }
        if !self.head_dim.is_multiple_of(2) {
            let reason = format!("{} is odd; rotary embedding needs an even size", self.head_dim);
            return Err(Error::field("head_dim", reason));
        }
        positive("rms_norm_eps", self.norm_eps)?;
        positive("rope_theta", self.rope_theta)?;
        self.rope_scaling.map_or(Ok(()), check_scaling)
    }
}

fn check_scaling(scaling: Llama3Scaling) -> Result<(), Error> {
    positive("rope_scaling.factor", scaling.factor)?;
    positive("rope_scaling.low_freq_factor", scaling.low_freq_factor)?;
    positive("rope_scaling.high_freq_factor", scaling.high_freq_factor)?;
    if scaling.high_freq_factor <= scaling.low_freq_factor {
        return Err(Error::field("rope_scaling.high_freq_factor", "must exceed low_freq_factor"));
    }
    within("rope_scaling.original_max_position_embeddings", scaling.original_max_positions as u64, 1 << 30).map(drop)
}

/// The architecture by `architectures`, or by `model_type` where that is absent.
fn family(json: &Value) -> Result<Family, Error> {
    const SUPPORTED: &str = "Llama (LlamaForCausalLM) and Qwen2 (Qwen2ForCausalLM) are";
    if !json.is_object() {
        return Err(Error::field("config", "not a JSON object"));
    }
    let architecture = json.get("architectures").and_then(|names| names.get(0)).and_then(Value::as_str);
    let model_type = json.get("model_type").and_then(Value::as_str);
    match (architecture, model_type) {
        (Some("LlamaForCausalLM"), None | Some("llama")) | (None, Some("llama")) => Ok(Family::Llama),
        (Some("Qwen2ForCausalLM"), None | Some("qwen2")) | (None, Some("qwen2")) => Ok(Family::Qwen2),
        (Some("LlamaForCausalLM" | "Qwen2ForCausalLM"), Some(other)) => {
            Err(Error::unsupported("model_type", other, SUPPORTED))
        }
        (Some(other), _) => Err(Error::unsupported("architectures", other, SUPPORTED)),
        (None, Some(other)) => Err(Error::unsupported("model_type", other, SUPPORTED)),
        (None, None) => Err(Error::field("architectures", "missing, and so is model_type")),
    }
}

/// Refuses the options that change the computation and are not implemented.
fn refuse_unsupported(json: &Value) -> Result<(), Error> {
    if let Some(activation) = json.get("hidden_act").filter(|value| !value.is_null())
        && activation != "silu"
    {
        return Err(Error::unsupported("hidden_act", activation, "only \"silu\" is"));
    }
    for field in ["attention_bias", "mlp_bias"] {
        if flag(json, field)? {
            return Err(Error::unsupported(field, true, "only Qwen2's biases on q, k and v are"));
        }
    }
    if let Some(quantization) = json.get("quantization_config").filter(|value| !value.is_null()) {
        return Err(Error::unsupported("quantization_config", quantization, "give unquantised safetensors, or GGUF"));
    }
    if let Some(tp) = json.get("pretraining_tp").and_then(Value::as_u64).filter(|tp| *tp > 1) {
        return Err(Error::unsupported("pretraining_tp", tp, "only 1 is"));
    }
    refuse_partial_rotation(json)?;
    refuse_sliding_window(json)
}

/// Some models turn only the front of each head; the factor stands at the top or in either table of rotary settings.
fn refuse_partial_rotation(json: &Value) -> Result<(), Error> {
    const FIELD: &str = "partial_rotary_factor";
    for holder in [Some(json), json.get("rope_parameters"), json.get("rope_scaling")] {
        let part = holder.and_then(|holder| holder.get(FIELD)).filter(|part| !part.is_null());
        if let Some(part) = part.filter(|part| part.as_f64() != Some(1.0)) {
            return Err(Error::unsupported(FIELD, part, "only 1 is"));
        }
    }
    Ok(())
}

/// Hugging Face slides the window in Qwen2 only with `use_sliding_window`, from block `max_window_layers` on.
fn refuse_sliding_window(json: &Value) -> Result<(), Error> {
    const FULL: &str = "only full attention is";
    match json.get("layer_types").and_then(Value::as_array) {
        Some(types) => match types.iter().find(|kind| *kind != "full_attention") {
            Some(other) => Err(Error::unsupported("layer_types", other, FULL)),
            None => Ok(()),
        },
        None if flag(json, "use_sliding_window")? => {
            let first = json.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28);
            let layers = json.get("num_hidden_layers").and_then(Value::as_u64).unwrap_or(u64::MAX);
            let in_use = first < layers && json.get("sliding_window").is_none_or(|window| !window.is_null());
            if in_use { Err(Error::unsupported("use_sliding_window", true, FULL)) } else { Ok(()) }
        }
        None => Ok(()),
    }
}

fn head_dim(json: &Value, hidden: usize, heads: usize) -> Result<usize, Error> {
    if json.get("head_dim").is_some_and(|value| !value.is_null()) {
        return size(json, "head_dim", None);
    }
    if !hidden.is_multiple_of(heads) {
        let reason = format!("{heads} does not divide hidden_size {hidden}, and head_dim is not given");
        return Err(Error::field("num_attention_heads", reason));
    }
    Ok(hidden / heads)
}

/// The table of rotary settings: `rope_parameters` in the newer form, `rope_scaling` in the older.
fn rope_table(json: &Value) -> Option<(&'static str, &Value)> {
    let table = |name: &'static str| json.get(name).filter(|value| !value.is_null()).map(|value| (name, value));
    table("rope_parameters").or_else(|| table("rope_scaling"))
}

fn rope_theta(json: &Value) -> Result<f64, Error> {
    match json.get("rope_parameters").filter(|table| table.get("rope_theta").is_some()) {
        Some(table) => number(table, "rope_theta", None),
        None => number(json, "rope_theta", Some(10_000.0)),
    }
}

fn rope_scaling(json: &Value) -> Result<Option<Llama3Scaling>, Error> {
    let Some((name, table)) = rope_table(json) else {
        return Ok(None);
    };
    if !table.is_object() {
        return Err(Error::field(name, "not a JSON object"));
    }
    let kind = table.get("rope_type").or_else(|| table.get("type"));
    match kind.and_then(Value::as_str) {
        Some("default") => Ok(None),
        Some("llama3") => llama3_scaling(table).map(Some),
        Some(other) => Err(Error::unsupported(&format!("{name}.rope_type"), other, "\"default\" and \"llama3\" are")),
        None if name == "rope_parameters" && kind.is_none() && table.get("rope_theta").is_some() => Ok(None),
        None => Err(Error::field(&format!("{name}.rope_type"), "missing or not a string")),
    }
}

fn llama3_scaling(table: &Value) -> Result<Llama3Scaling, Error> {
    Ok(Llama3Scaling {
        factor: number(table, "factor", None)?,
        low_freq_factor: number(table, "low_freq_factor", None)?,
        high_freq_factor: number(table, "high_freq_factor", None)?,
        original_max_positions: size_up_to(table, "original_max_position_embeddings", None, 1 << 30)?,
    })
}

fn size(json: &Value, field: &str, default: Option<usize>) -> Result<usize, Error> {
    size_up_to(json, field, default, MAX_SIZE)
}

fn size_up_to(json: &Value, field: &str, default: Option<usize>, most: usize) -> Result<usize, Error> {
    match (json.get(field).filter(|value| !value.is_null()), default) {
        (Some(value), _) => {
            let number = value.as_u64().ok_or_else(|| Error::field(field, format!("{value} is not a whole number")))?;
            within(field, number, most)
        }
        (None, Some(default)) => Ok(default),
        (None, None) => Err(Error::field(field, "missing")),
    }
}

fn within(field: &str, value: u64, most: usize) -> Result<usize, Error> {
    match usize::try_from(value) {
        Ok(value) if (1..=most).contains(&value) => Ok(value),
        _ => Err(Error::field(field, format!("{value} is not between 1 and {most}"))),
    }
}

fn number(json: &Value, field: &str, default: Option<f64>) -> Result<f64, Error> {
    match (json.get(field).filter(|value| !value.is_null()), default) {
        (Some(value), _) => value.as_f64().ok_or_else(|| Error::field(field, format!("{value} is not a number"))),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(Error::field(field, "missing")),
    }
}

fn positive(field: &str, value: f64) -> Result<(), Error> {
    let sensible = value.is_finite() && value > 0.0;
    if sensible { Ok(()) } else { Err(Error::field(field, format!("{value} is not a positive number"))) }
}

fn flag(json: &Value, field: &str) -> Result<bool, Error> {
    match json.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => Err(Error::field(field, format!("{other} is neither true nor false"))),
    }
}

fn token_ids_of(json: &Value, field: &str) -> Result<Vec<u32>, Error> {
    json.get(field).map_or(Ok(Vec::new()), |ids| token_ids(ids, field))
}

/// One id, a list of ids, or none.
pub(crate) fn token_ids(ids: &Value, field: &str) -> Result<Vec<u32>, Error> {
    let one = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| Error::field(field, format!("{value} is not a token id")))
    };
    match ids {
        Value::Null => Ok(Vec::new()),
        Value::Array(values) => values.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}
