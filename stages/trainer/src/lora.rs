//! The low-rank adapter (LoRA, arXiv 2106.09685): W x becomes W x + (alpha/r)·B A x, and only A and B learn.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::error::Error;
use crate::model::Matrix;
use crate::projection::Projection;
use crate::random::SplitMix64;
use crate::real::Real;

/// What an adapter adds to one projection.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank<F> {
    /// A, `[r, in]`.
    pub a: Matrix<F>,
    /// B, `[out, r]`.
    pub b: Matrix<F>,
}

/// The shape of a new adapter.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraSettings {
    /// r, from 1 to 1024.
    pub rank: usize,
    /// The adapter's weight is alpha/r.
    pub alpha: f64,
    /// The projections that get one.
    pub targets: Vec<Projection>,
}

impl Default for LoraSettings {
    /// The published recipe: rank 8, alpha 16, all linear layers.
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, targets: Projection::ALL.to_vec() }
    }
}

impl LoraSettings {
    /// Checks the fields.
    ///
    /// # Errors
    /// Names the field and the rule it breaks.
    pub fn check(&self) -> Result<(), Error> {
        if !(1..=1_024).contains(&self.rank) {
            return Err(Error::field("rank", format!("{} is not between 1 and 1024", self.rank)));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(Error::field("alpha", format!("{} is not a positive number", self.alpha)));
        }
        if self.targets.is_empty() {
            return Err(Error::field("targets", "an adapter needs at least one projection"));
        }
        Ok(())
    }
}

/// The adapters of one block, in the order of [`Projection::ALL`].
pub type BlockAdapter<F> = [Option<LowRank<F>>; 7];

/// A low-rank adapter of a whole model. Gradients and moments have the same type.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter<F = f32> {
    /// r.
    pub rank: usize,
    /// The adapter's weight is alpha/r.
    pub alpha: f64,
    /// The blocks, first to last.
    pub layers: Vec<BlockAdapter<F>>,
}

impl<F: Real> Adapter<F> {
    /// A new adapter that changes nothing yet: B is zero, and A uniform in ±1/√in, which is what `peft` draws
    /// (Kaiming-uniform with a = √5). Every matrix has its own stream of random numbers, so the values of one
    /// do not depend on which others exist.
    ///
    /// # Errors
    /// Settings that make no sense.
    pub fn new(config: &Config, settings: &LoraSettings, seed: u64) -> Result<Self, Error> {
        settings.check()?;
        let layers = (0..config.layers).map(|layer| {
            Projection::ALL.map(|projection| {
                let (out, inner) = projection.shape(config);
                settings.targets.contains(&projection).then(|| LowRank {
                    a: uniform(settings.rank, inner, stream(seed, layer, projection)),
                    b: Matrix::zeros(out, settings.rank),
                })
            })
        });
        Ok(Self { rank: settings.rank, alpha: settings.alpha, layers: layers.collect() })
    }

    /// Puts named matrices (see [`Adapter::named_matrices`]) together; [`Adapter::check`] says whether they fit
    /// a model.
    ///
    /// # Errors
    /// Names a matrix that is unknown, or one whose other half is missing.
    pub fn from_named(
        layers: usize,
        rank: usize,
        alpha: f64,
        named: impl IntoIterator<Item = (String, Matrix<F>)>,
    ) -> Result<Self, Error> {
        let mut matrices: BTreeMap<String, Matrix<F>> = named.into_iter().collect();
        let mut block = |layer: usize| -> Result<BlockAdapter<F>, Error> {
            let mut block = [const { None }; 7];
            for projection in Projection::ALL {
                let [a, b] = ['A', 'B'].map(|part| matrix_name(layer, projection, part));
                block[projection.index()] = match (matrices.remove(&a), matrices.remove(&b)) {
                    (Some(a), Some(b)) => Some(LowRank { a, b }),
                    (None, None) => None,
                    (Some(_), None) => return Err(Error::MissingTensor { name: b }),
                    (None, Some(_)) => return Err(Error::MissingTensor { name: a }),
                };
            }
            Ok(block)
        };
        let layers = (0..layers).map(&mut block).collect::<Result<Vec<_>, _>>()?;
        if let Some(name) = matrices.keys().next() {
            return Err(Error::field(name, "not an adapter matrix of any projection of the model"));
        }
        if layers.iter().flatten().all(Option::is_none) {
            return Err(Error::field("adapter", "holds no matrix"));
        }
        Ok(Self { rank, alpha, layers })
    }

    /// An adapter of the same shape, all zero.
    pub fn zeros_like(&self) -> Self {
        let zeros = |matrix: &Matrix<F>| Matrix::zeros(matrix.rows, matrix.cols);
        let block = |block: &BlockAdapter<F>| {
            block.each_ref().map(|low| low.as_ref().map(|low| LowRank { a: zeros(&low.a), b: zeros(&low.b) }))
        };
        Self { rank: self.rank, alpha: self.alpha, layers: self.layers.iter().map(block).collect() }
    }

    /// Whether another adapter has the same matrices, of the same sizes.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        let sizes = |block: &BlockAdapter<F>| {
            block.each_ref().map(|low| low.as_ref().map(|LowRank { a, b }| (a.rows, a.cols, b.rows, b.cols)))
        };
        self.layers.iter().map(sizes).eq(other.layers.iter().map(sizes))
    }

    /// alpha/r.
    pub fn scale(&self) -> F {
        F::from_f64(self.alpha / self.rank as f64)
    }

    /// The projections that have an adapter in any block, in the order of [`Projection::ALL`].
    pub fn targets(&self) -> Vec<Projection> {
        let present = |projection: &Projection| self.layers.iter().any(|block| block[projection.index()].is_some());
        Projection::ALL.into_iter().filter(present).collect()
    }

    /// Every A and B, under names like `model.layers.0.self_attn.q_proj.lora_A.weight`, in a fixed order.
    pub fn named_matrices(&self) -> impl Iterator<Item = (String, &Matrix<F>)> {
        self.layers.iter().enumerate().flat_map(|(layer, block)| {
            let present = Projection::ALL.into_iter().zip(block).filter_map(|(p, low)| Some((p, low.as_ref()?)));
            present.flat_map(move |(projection, low)| {
                [('A', &low.a), ('B', &low.b)].map(|(part, matrix)| (matrix_name(layer, projection, part), matrix))
            })
        })
    }

    /// Every A and B, in the order of [`Adapter::named_matrices`].
    pub fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Matrix<F>> {
        self.layers.iter_mut().flatten().flatten().flat_map(|low| [&mut low.a, &mut low.b])
    }

    /// Every A and B, in the order of [`Adapter::named_matrices`].
    pub fn matrices(&self) -> impl Iterator<Item = &Matrix<F>> {
        self.layers.iter().flatten().flatten().flat_map(|low| [&low.a, &low.b])
    }

    /// Number of values that learn.
    pub fn parameters(&self) -> usize {
        self.matrices().map(|matrix| matrix.data.len()).sum()
    }

    /// Checks that the adapter fits a model.
    ///
    /// # Errors
    /// Names the first matrix that does not.
    pub fn check(&self, config: &Config) -> Result<(), Error> {
        if self.layers.len() != config.layers {
            let reason = format!("the adapter has {} blocks, the model {}", self.layers.len(), config.layers);
            return Err(Error::field("num_hidden_layers", reason));
        }
        for (layer, block) in self.layers.iter().enumerate() {
            for (projection, low) in Projection::ALL.into_iter().zip(block) {
                let Some(low) = low else { continue };
                let (out, inner) = projection.shape(config);
                check_matrix(&low.a, matrix_name(layer, projection, 'A'), [self.rank, inner])?;
                check_matrix(&low.b, matrix_name(layer, projection, 'B'), [out, self.rank])?;
            }
        }
        Ok(())
    }
}

/// The name of an adapter's matrix in the base model's terms; PEFT puts `base_model.model.` before it.
pub fn matrix_name(layer: usize, projection: Projection, part: char) -> String {
    format!("model.layers.{layer}.{}.lora_{part}.weight", projection.module())
}

fn check_matrix<F>(matrix: &Matrix<F>, name: String, expected: [usize; 2]) -> Result<(), Error> {
    let found = vec![matrix.rows, matrix.cols];
    if found == expected && matrix.data.len() == matrix.rows * matrix.cols {
        return Ok(());
    }
    Err(Error::Shape { name, expected: expected.to_vec(), found })
}

/// A matrix uniform in ±1/√cols.
fn uniform<F: Real>(rows: usize, cols: usize, mut random: SplitMix64) -> Matrix<F> {
    let bound = 1.0 / (cols as f64).sqrt();
    let data = (0..rows * cols).map(|_| F::from_f64((2.0 * random.unit() - 1.0) * bound)).collect();
    Matrix { rows, cols, data }
}

/// The random stream of one matrix.
fn stream(seed: u64, layer: usize, projection: Projection) -> SplitMix64 {
    SplitMix64::stream(seed, (layer * Projection::ALL.len() + projection.index()) as u64)
}
