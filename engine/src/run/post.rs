//! What the processes of a run say to each other beside the dataflow's records: calls that another one makes, counts, the end.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use obvert_api::Reply;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::operator::Operator as _;
use timely::dataflow::operators::generic::operator::source;
use timely::scheduling::SyncActivator;
use timely::worker::Worker;

use crate::StageCount;
use crate::memo::Key;
use crate::model::{ByStage, Call, Via};

/// One message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Mail {
    /// Make a call, and answer it.
    Call(Box<Call>),
    /// What a call of yours came to.
    Answer(Key, String, Result<Reply, String>, Via),
    /// Nobody here waits for a call to a model any more.
    Withdraw(Key, String),
    /// What a process has done so far.
    Counts(Vec<StageCount>, Vec<ByStage>),
    /// A stage cannot go on, for this cause.
    Failed(String, String),
    /// A process was told to stop.
    Interrupted,
    /// Begin no call, or go on.
    Held(bool),
    /// The run is over; whether what views hold is whole.
    End(bool),
}

/// Sends messages from any thread.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    wake: OnceLock<SyncActivator>,
}

#[derive(Default)]
struct Waiting {
    mail: Vec<(usize, Mail)>,
    /// Nothing more will come.
    closed: bool,
}

impl Outbox {
    /// Sends a message to a process.
    pub(crate) fn send(&self, to: usize, mail: Mail) {
        self.lock().mail.push((to, mail));
        self.wake();
    }

    /// Ends the mail of this process.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake();
    }

    fn wake(&self) {
        // Before there is a dataflow nobody has to be woken; after its end nobody can.
        let _ = self.0.wake.get().map(SyncActivator::activate);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From whom, to which worker, what.
type Message = (u64, u64, ByteBuf);

/// Carries the mail of this process, whose workers are so many, and hands what comes to `receive`. All workers must do this before
/// anything else.
pub(super) fn carry(worker: &mut Worker, outbox: &Outbox, threads: usize, receive: impl Fn(usize, Mail) + 'static) {
    let (process, first) = (worker.index() / threads, worker.index().is_multiple_of(threads));
    let outbox = outbox.clone();
    worker.dataflow::<u64, _, _>(|scope| {
        let sent = source::<_, CapacityContainerBuilder<Vec<Message>>, _, _>(scope, "send", |capability, info| {
            if first {
                // Set once: there is one first worker in a process.
                let _ = outbox.0.wake.set(scope.worker().sync_activator_for(info.address.to_vec()));
            }
            let mut capability = first.then_some(capability);
            move |output| {
                let Some(sending) = &capability else { return };
                let mut waiting = outbox.lock();
                let (mail, closed) = (std::mem::take(&mut waiting.mail), waiting.closed);
                drop(waiting);
                let mut session = output.session(sending);
                for (to, mail) in mail {
                    match bincode::serde::encode_to_vec(&mail, bincode::config::standard()) {
                        Ok(bytes) => session.give((process as u64, (to * threads) as u64, ByteBuf::from(bytes))),
                        Err(error) => tracing::error!(%error, "a message to another process cannot be sent"),
                    }
                }
                drop(session);
                if closed {
                    capability = None;
                }
            }
        });
        let route = Exchange::new(|(_, to, _): &Message| *to);
        sent.sink(route, "receive", move |(input, _)| {
            input.for_each(|_, messages| {
                for (from, _, bytes) in messages.drain(..) {
                    match bincode::serde::decode_from_slice(&bytes, bincode::config::standard()) {
                        Ok((mail, _)) => receive(from as usize, mail),
                        Err(error) => tracing::error!(%error, from, "a message of another process is damaged"),
                    }
                }
            });
        });
    });
}
