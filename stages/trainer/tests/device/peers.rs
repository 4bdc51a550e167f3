//! Devices of several processes.

use std::fmt::Debug;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use obvert_device::machine::Invitation;
use obvert_device::{Device, Error, Launch, Machine, Product};
use obvert_trainer::Trainer;
use obvert_trainer::peers::{Alone, Peers};

use crate::case::{cases, devices, distance};

/// A process that is a thread: the other's bytes come through a channel.
#[derive(Debug)]
struct Beside(usize, Sender<Vec<u8>>, Receiver<Vec<u8>>);

impl Peers for Beside {
    fn index(&self) -> usize {
        self.0
    }

    fn count(&self) -> usize {
        2
    }

    fn exchange(&mut self, mut parts: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, obvert_trainer::Error> {
        self.1.send(std::mem::take(&mut parts[1 - self.0])).unwrap();
        parts[1 - self.0] = self.2.recv().unwrap();
        Ok(parts)
    }

    fn leave(self: Box<Self>) -> Result<(), obvert_trainer::Error> {
        Ok(())
    }
}

#[test]
fn two_devices_learn_what_one_does() {
    let Some((exact, _)) = devices("two_devices_learn_what_one_does") else { return };
    let (_, case) = cases().remove(0);
    let learn = |device: &Device<f32>, peers: Box<dyn Peers>| {
        let mut trainer: Trainer = case.trainer_on(device).beside(peers);
        // One batch has fewer pairs than there are processes.
        for pairs in [0..3, 2..3, 0..2] {
            trainer.step(&case.pairs[pairs.clone()], &case.reference[pairs]).unwrap();
        }
        trainer.adapter().unwrap().into_owned()
    };
    let (other, ((to_second, from_first), (to_first, from_second))) = (devices("").unwrap().0, (channel(), channel()));
    let [first, second] = std::thread::scope(|scope| {
        let second = scope.spawn(|| learn(&other, Box::new(Beside(1, to_first, from_first))));
        let first = learn(&exact, Box::new(Beside(0, to_second, from_second)));
        [first, second.join().unwrap()]
    });
    assert!(first == second, "the two have other adapters");
    let apart = distance(&first, &learn(&exact, Box::new(Alone)));
    assert!(apart < 1e-5, "adapters are {apart:.1e} apart");
}

/// A machine that others can form a group with: what it is asked is written down, and its sums are those of one machine.
#[derive(Debug)]
struct Sociable {
    machine: Device<f32>,
    card: Option<(Invitation, [u8; 16])>,
    joined: Mutex<Vec<(u8, [usize; 2])>>,
}

impl Machine for Sociable {
    fn allocate(&self, what: &str, bytes: usize) -> Result<u64, Error> {
        self.machine.machine().allocate(what, bytes)
    }

    fn free(&self, address: u64) {
        self.machine.machine().free(address);
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.machine.machine().write(address, bytes)
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<(), Error> {
        self.machine.machine().zero(address, bytes)
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Error> {
        self.machine.machine().read(address, bytes)
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), Error> {
        self.machine.machine().launch(launch)
    }

    fn most_used(&self) -> Result<usize, Error> {
        self.machine.machine().most_used()
    }

    fn multiply(&self, product: &Product) -> Result<(), Error> {
        self.machine.machine().multiply(product)
    }

    fn invitation(&self) -> Option<(Invitation, [u8; 16])> {
        self.card
    }

    fn join(&self, invitation: Invitation, part: [usize; 2]) -> Result<(), Error> {
        self.joined.lock().unwrap().push((invitation[0], part));
        Ok(())
    }

    fn add_up(&self, _address: u64, _count: usize) -> Result<(), Error> {
        Ok(())
    }
}

/// Two processes with these cards: what each joined, by invitation and part.
fn met(cards: [Option<(u8, u8)>; 2]) -> [Vec<(u8, [usize; 2])>; 2] {
    let (_, case) = cases().remove(3);
    let card = |card: Option<(u8, u8)>| card.map(|(invitation, name)| ([invitation; 128], [name; 16]));
    let machines = cards.map(|own| {
        let machine = devices("").unwrap().0;
        Arc::new(Sociable { machine, card: card(own), joined: Mutex::default() })
    });
    let ((to_second, from_first), (to_first, from_second)) = (channel(), channel());
    let peers = [Beside(0, to_second, from_second), Beside(1, to_first, from_first)];
    std::thread::scope(|scope| {
        for (machine, peers) in machines.iter().zip(peers) {
            let device = Device::new(Arc::clone(machine) as Arc<dyn Machine>);
            let mut trainer: Trainer = case.trainer_on::<f32>(&device).beside(Box::new(peers));
            let case = &case;
            scope.spawn(move || trainer.step(&case.pairs[..2], &case.reference[..2]).unwrap());
        }
    });
    machines.map(|machine| machine.joined.lock().unwrap().clone())
}

#[test]
fn devices_form_a_group_where_each_process_has_its_own() {
    if devices("devices_form_a_group_where_each_process_has_its_own").is_none() {
        return;
    }
    // The first one's invitation, and a number for each.
    assert_eq!(met([Some((7, 1)), Some((8, 2))]), [vec![(7, [0, 2])], vec![(7, [1, 2])]]);
    // The same GPU for both, or one without: through the host.
    let none: [Vec<(u8, [usize; 2])>; 2] = Default::default();
    assert_eq!(met([Some((7, 1)), Some((8, 1))]), none);
    assert_eq!(met([Some((7, 1)), None]), none);
    assert_eq!(met([None, Some((8, 2))]), none);
}
