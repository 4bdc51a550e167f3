//! A view whose records somebody looks at: what reaches it is shown as it comes.

use std::sync::Arc;

use crate::Observer;
use crate::dataflow::{Change, Poll, Settled, View, Waker};

/// A view and whoever looks.
pub(super) struct ObservedView {
    pub(super) view: Box<dyn View>,
    pub(super) observer: Arc<dyn Observer>,
}

impl View for ObservedView {
    fn accepts(&self, record: &[u8]) -> Result<(), String> {
        self.view.accepts(record)
    }

    fn start(&mut self, waker: Waker) {
        self.view.start(waker);
    }

    fn update(&mut self, changes: Vec<Change>, settled: Settled) -> Result<(), String> {
        if self.observer.looks() {
            changes.iter().for_each(|change| self.observer.see(&change.record, change.diff));
        }
        self.view.update(changes, settled)
    }

    fn poll(&mut self) -> Result<Poll, String> {
        self.view.poll()
    }

    fn commit(&mut self) -> Result<(), String> {
        self.view.commit()
    }

    fn finish(&mut self) -> Result<(), String> {
        self.view.finish()
    }

    fn abandon(&mut self) -> Result<(), String> {
        self.view.abandon()
    }
}
