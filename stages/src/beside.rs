//! Training beside other processes: what they exchange goes through the engine's cluster.

use obvert_engine::cluster::Cluster;
use obvert_trainer::Error;
use obvert_trainer::peers::Peers;

/// A cluster whose processes share every batch.
#[derive(Debug)]
pub struct Beside(pub Cluster);

impl Peers for Beside {
    fn index(&self) -> usize {
        self.0.index()
    }

    fn count(&self) -> usize {
        self.0.count()
    }

    fn exchange(&mut self, parts: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
        self.0.exchange(parts).map_err(|error| Error::Peers(error.to_string()))
    }

    fn leave(self: Box<Self>) -> Result<(), Error> {
        self.0.leave().map_err(|error| Error::Peers(error.to_string()))
    }
}
