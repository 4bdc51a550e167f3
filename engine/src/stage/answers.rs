//! What a plugin says of the items of one call: whatever it says, each item ends with records, with requests, or with a reason.

use obvert_api::{Error, Outcome, Request};

/// No item may become more than this, in bytes of all its records.
pub(super) const MOST: usize = 64 << 20;

/// By index.
pub(super) struct Answers {
    items: Vec<Answer>,
    /// Why nothing that was said can be relied on.
    misused: Option<Error>,
}

#[derive(Default)]
pub(super) struct Answer {
    outcome: Outcome,
    /// Bytes of its records.
    size: usize,
    failure: Option<Error>,
    /// Whether records came after that.
    went_on: bool,
}

impl Answers {
    pub(super) fn for_items(count: usize) -> Self {
        Answers { items: (0..count).map(|_| Answer::default()).collect(), misused: None }
    }

    /// The answer for an item, if there is such an item.
    pub(super) fn about(&mut self, item: u64) -> Option<&mut Answer> {
        let count = self.items.len();
        let answer = usize::try_from(item).ok().and_then(|item| self.items.get_mut(item));
        if answer.is_none() {
            let said = || Error(format!("the plugin answered for item {item} of a batch of {count}, counted from 0"));
            self.misused.get_or_insert_with(said);
        }
        answer
    }

    /// Notes that the plugin has called what is not for this call.
    pub(super) fn misuse(&mut self, what: &str) {
        self.misused.get_or_insert_with(|| Error(format!("the plugin called `{what}`, which is for chains only")));
    }

    /// Why the call as a whole has failed.
    pub(super) fn reason(mut self) -> Option<Error> {
        self.items.first_mut().and_then(|answer| answer.failure.take())
    }

    pub(super) fn outcomes(self) -> Vec<Result<Outcome, Error>> {
        match self.misused {
            Some(error) => self.items.iter().map(|_| Err(error.clone())).collect(),
            None => self.items.into_iter().map(Answer::outcome).collect(),
        }
    }
}

impl Answer {
    /// What is said of an item that becomes more than [`MOST`].
    pub(super) const TOO_MUCH: &'static str = "it makes more than 64 MiB of one item";

    /// Takes a record; an error where the item has become too large.
    pub(super) fn take(&mut self, record: &[u8]) -> Result<(), String> {
        self.grow(record.len())?;
        self.went_on |= self.failure.is_some();
        self.outcome.records.push(record.into());
        Ok(())
    }

    /// Takes a request of so many bytes.
    pub(super) fn ask(&mut self, request: Request, bytes: usize) -> Result<(), String> {
        self.grow(bytes)?;
        self.went_on |= self.failure.is_some();
        self.outcome.requests.push(request);
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), String> {
        self.size = self.size.saturating_add(bytes);
        if self.size > MOST {
            self.outcome = Outcome::default();
            return Err(Self::TOO_MUCH.into());
        }
        Ok(())
    }

    /// The first reason counts.
    pub(super) fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(Error(reason));
    }

    fn outcome(self) -> Result<Outcome, Error> {
        match self.failure {
            None => Ok(self.outcome),
            Some(Error(reason)) if self.went_on => {
                Err(Error(format!("{reason} (what it made of the item after that is dropped)")))
            }
            Some(reason) => Err(reason),
        }
    }
}
