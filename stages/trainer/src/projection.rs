//! The seven linear layers of a decoder block that an adapter may target.

use crate::config::Config;

/// One of the seven linear layers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Projection {
    /// Queries, `[heads·d, hidden]`.
    Q,
    /// Keys, `[kv_heads·d, hidden]`.
    K,
    /// Values, `[kv_heads·d, hidden]`.
    V,
    /// Attention output, `[hidden, heads·d]`.
    O,
    /// The gate of SwiGLU, `[ffn, hidden]`.
    Gate,
    /// The linear half of SwiGLU, `[ffn, hidden]`.
    Up,
    /// The output of the feed-forward block, `[hidden, ffn]`.
    Down,
}

impl Projection {
    /// All seven, in the order of the computation.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// The module's path inside a block, as in Hugging Face checkpoints: `self_attn.q_proj`.
    pub fn module(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// The module's last name, as in `target_modules` of a PEFT configuration: `q_proj`.
    pub fn name(self) -> &'static str {
        let module = self.module();
        module.split_once('.').map_or(module, |(_, name)| name)
    }

    /// The projection called `name` (`q_proj`), if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|projection| projection.name() == name)
    }

    /// Output and input size of the projection's weight in a model of this configuration.
    pub fn shape(self, config: &Config) -> (usize, usize) {
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match self {
            Self::Q => (queries, config.hidden),
            Self::K | Self::V => (keys, config.hidden),
            Self::O => (config.hidden, queries),
            Self::Gate | Self::Up => (config.ffn, config.hidden),
            Self::Down => (config.hidden, config.ffn),
        }
    }

    /// The projection's position in [`Projection::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}
