//! The weights of a decoder, frozen.

use crate::config::Config;
use crate::error::Error;
use crate::projection::Projection;
use crate::real::Real;
use crate::weight::{Storage, Weight};

/// A matrix in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix<F> {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// `rows · cols` values.
    pub data: Vec<F>,
}

impl<F: Real> Matrix<F> {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![F::ZERO; rows * cols] }
    }
}

/// One decoder block.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer<F> {
    /// Gain of the norm before attention, `[hidden]`.
    pub attn_norm: Vec<F>,
    /// Gain of the norm before the feed-forward block, `[hidden]`.
    pub ffn_norm: Vec<F>,
    /// Queries, `[heads·d, hidden]`.
    pub q: Weight<F>,
    /// Keys, `[kv_heads·d, hidden]`.
    pub k: Weight<F>,
    /// Values, `[kv_heads·d, hidden]`.
    pub v: Weight<F>,
    /// Attention output, `[hidden, heads·d]`.
    pub o: Weight<F>,
    /// Gate of SwiGLU, `[ffn, hidden]`.
    pub gate: Weight<F>,
    /// Linear half of SwiGLU, `[ffn, hidden]`.
    pub up: Weight<F>,
    /// Output of the feed-forward block, `[hidden, ffn]`.
    pub down: Weight<F>,
    /// Bias of the queries, `[heads·d]`.
    pub q_bias: Option<Vec<F>>,
    /// Bias of the keys, `[kv_heads·d]`.
    pub k_bias: Option<Vec<F>>,
    /// Bias of the values, `[kv_heads·d]`.
    pub v_bias: Option<Vec<F>>,
}

impl<F> Layer<F> {
    /// The weight of a projection.
    pub fn weight(&self, projection: Projection) -> &Weight<F> {
        match projection {
            Projection::Q => &self.q,
            Projection::K => &self.k,
            Projection::V => &self.v,
            Projection::O => &self.o,
            Projection::Gate => &self.gate,
            Projection::Up => &self.up,
            Projection::Down => &self.down,
        }
    }

    /// The weight of a projection.
    pub fn weight_mut(&mut self, projection: Projection) -> &mut Weight<F> {
        match projection {
            Projection::Q => &mut self.q,
            Projection::K => &mut self.k,
            Projection::V => &mut self.v,
            Projection::O => &mut self.o,
            Projection::Gate => &mut self.gate,
            Projection::Up => &mut self.up,
            Projection::Down => &mut self.down,
        }
    }

    /// The bias of a projection, where it has one.
    pub fn bias(&self, projection: Projection) -> Option<&[F]> {
        match projection {
            Projection::Q => self.q_bias.as_deref(),
            Projection::K => self.k_bias.as_deref(),
            Projection::V => self.v_bias.as_deref(),
            _ => None,
        }
    }
}

/// A decoder: embedding, blocks, final norm and head.
#[derive(Clone, Debug, PartialEq)]
pub struct Model<F = f32> {
    /// The shape.
    pub config: Config,
    /// Token embedding, `[vocab, hidden]`.
    pub embed: Weight<F>,
    /// The blocks, first to last.
    pub layers: Vec<Layer<F>>,
    /// Gain of the last norm, `[hidden]`.
    pub final_norm: Vec<F>,
    /// The head, `[vocab, hidden]`; `None` when it is the embedding.
    pub head: Option<Weight<F>>,
}

impl<F: Real> Model<F> {
    /// Builds a model from tensors under their Hugging Face names; matrices are kept as `storage` says.
    ///
    /// # Errors
    /// What `tensors` returns, or the tensor whose shape is not what `config` says.
    pub fn from_tensors(config: Config, storage: Storage, tensors: impl Tensors<F>) -> Result<Self, Error> {
        config.check()?;
        let mut reader = Reader { tensors, storage };
        let (vocab, hidden) = (config.vocab_size, config.hidden);
        Ok(Self {
            embed: reader.matrix("model.embed_tokens.weight", vocab, hidden)?,
            layers: (0..config.layers).map(|index| reader.layer(&config, index)).collect::<Result<_, _>>()?,
            final_norm: reader.vector("model.norm.weight", hidden)?,
            head: if config.tied { None } else { Some(reader.matrix("lm_head.weight", vocab, hidden)?) },
            config,
        })
    }

    /// The matrix that maps the last norm's output to logits, `[vocab, hidden]`.
    pub fn head(&self) -> &Weight<F> {
        self.head.as_ref().unwrap_or(&self.embed)
    }
}

/// Where a model's tensors come from: a function from a name to shape and values is enough.
pub trait Tensors<F> {
    /// Shape and values of a tensor.
    ///
    /// # Errors
    /// Names the tensor and what is wrong with it.
    fn values(&mut self, name: &str) -> Result<(Vec<usize>, Vec<F>), Error>;

    /// A matrix as it is stored, where its values are stored otherwise than [`Tensors::values`] gives them.
    ///
    /// # Errors
    /// Names the tensor and what is wrong with it.
    fn stored(&mut self, _name: &str) -> Result<Option<Weight<F>>, Error> {
        Ok(None)
    }
}

impl<F, T: FnMut(&str) -> Result<(Vec<usize>, Vec<F>), Error>> Tensors<F> for T {
    fn values(&mut self, name: &str) -> Result<(Vec<usize>, Vec<F>), Error> {
        self(name)
    }
}

/// Takes tensors and checks their shapes.
struct Reader<T> {
    tensors: T,
    storage: Storage,
}

impl<T> Reader<T> {
    fn vector<F>(&mut self, name: &str, size: usize) -> Result<Vec<F>, Error>
    where
        T: Tensors<F>,
    {
        self.values(name, &[size])
    }

    fn values<F>(&mut self, name: &str, expected: &[usize]) -> Result<Vec<F>, Error>
    where
        T: Tensors<F>,
    {
        let (found, values) = self.tensors.values(name)?;
        let whole = values.len() == found.iter().product::<usize>();
        check_shape(name, expected, if whole { found } else { vec![values.len()] })?;
        Ok(values)
    }

    fn matrix<F: Real>(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight<F>, Error>
    where
        T: Tensors<F>,
    {
        let stored = if self.storage == Storage::File { self.tensors.stored(name)? } else { None };
        if let Some(weight) = stored {
            check_shape(name, &[rows, cols], vec![weight.rows(), weight.cols()])?;
            return Ok(weight);
        }
        let matrix = Matrix { rows, cols, data: self.values(name, &[rows, cols])? };
        Ok(Weight::new(matrix, self.storage))
    }

    fn layer<F: Real>(&mut self, config: &Config, index: usize) -> Result<Layer<F>, Error>
    where
        T: Tensors<F>,
    {
        let name = |module: &str, kind: &str| format!("model.layers.{index}.{module}.{kind}");
        let mut weight = |projection: Projection| {
            let (rows, cols) = projection.shape(config);
            self.matrix(&name(projection.module(), "weight"), rows, cols)
        };
        let [q, k, v] = [weight(Projection::Q)?, weight(Projection::K)?, weight(Projection::V)?];
        let o = weight(Projection::O)?;
        let [gate, up, down] = [weight(Projection::Gate)?, weight(Projection::Up)?, weight(Projection::Down)?];
        let mut bias = |projection: Projection| match config.qkv_bias {
            true => self.vector(&name(projection.module(), "bias"), projection.shape(config).0).map(Some),
            false => Ok(None),
        };
        let [q_bias, k_bias, v_bias] = [bias(Projection::Q)?, bias(Projection::K)?, bias(Projection::V)?];
        Ok(Layer {
            attn_norm: self.vector(&name("input_layernorm", "weight"), config.hidden)?,
            ffn_norm: self.vector(&name("post_attention_layernorm", "weight"), config.hidden)?,
            q,
            k,
            v,
            o,
            gate,
            up,
            down,
            q_bias,
            k_bias,
            v_bias,
        })
    }
}

fn check_shape(name: &str, expected: &[usize], found: Vec<usize>) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Shape { name: name.to_owned(), expected: expected.to_vec(), found })
}
