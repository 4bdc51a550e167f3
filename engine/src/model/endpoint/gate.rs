//! When a call may begin: not while the model has asked to wait, nor faster than its limits allow, nor beyond its budget.

use std::time::{Duration, Instant};

use obvert_api::{Reply, Request};

use crate::model::{Failure, Limits, used};

/// Characters that are taken for a token, and tokens around a message, before the model has counted them.
const CHARACTERS: usize = 4;
const AROUND: usize = 4;
/// Until a paused run is looked at again, at the latest.
const HELD: Duration = Duration::from_secs(3600);

/// Of one model.
#[derive(Debug)]
pub(super) struct Gate {
    limits: Limits,
    shut_until: Option<Instant>,
    /// The run is paused.
    held: bool,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    begun: u64,
    used_tokens: u64,
    used_money: f64,
}

/// What flows in at a steady rate, up to one second's worth, and is taken out in pieces. A piece may be taken as long as there is no
/// debt, so over any time no more is taken than has flowed in, one second's worth, and a piece.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    level: f64,
    seen: Instant,
}

impl Bucket {
    fn of(per_minute: f64, now: Instant) -> Self {
        let per_second = per_minute / 60.0;
        Bucket { per_second, level: per_second.max(1.0), seen: now }
    }

    fn fill(&mut self, now: Instant) {
        let flowed = now.saturating_duration_since(self.seen).as_secs_f64() * self.per_second;
        self.level = (self.level + flowed).min(self.per_second.max(1.0));
        self.seen = now;
    }

    /// When there is no debt any more; nothing where there is none.
    fn due(&mut self, now: Instant) -> Option<Instant> {
        self.fill(now);
        let wait = Duration::try_from_secs_f64(-self.level / self.per_second).ok()?;
        // Rounded up: else it would be due for ever a hair's breadth too early.
        (!wait.is_zero()).then(|| now + wait + Duration::from_nanos(1))
    }
}

impl Gate {
    pub(super) fn of(limits: Limits, now: Instant) -> Self {
        let [requests, tokens] = [limits.requests_per_minute, limits.tokens_per_minute]
            .map(|limit| limit.map(|limit| Bucket::of(limit, now)));
        Gate { limits, shut_until: None, held: false, requests, tokens, begun: 0, used_tokens: 0, used_money: 0.0 }
    }

    /// When the next call may begin; nothing where it may at once.
    pub(super) fn due(&mut self, now: Instant) -> Option<Instant> {
        let shut = self.shut_until.filter(|until| *until > now);
        // Whoever lets it go on wakes those who wait.
        let held = self.held.then(|| now + HELD);
        let buckets = self.requests.iter_mut().chain(&mut self.tokens);
        buckets.filter_map(|bucket| bucket.due(now)).chain(shut).chain(held).max()
    }

    /// Lets no call begin, until it is told to go on.
    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Shuts it for a while.
    pub(super) fn shut(&mut self, now: Instant, pause: Duration) {
        self.shut_until = self.shut_until.max(now.checked_add(pause));
    }

    /// What is used up, if anything is.
    pub(super) fn used_up(&self) -> Option<String> {
        let budget = self.limits.budget;
        let over = |what: &str, used: bool, limit: String| {
            let then = "what was paid is kept, and another run goes on from there, with a budget of its own";
            used.then(|| format!("its budget of {limit} {what} is used up; {then}"))
        };
        let calls = budget.calls.and_then(|limit| over("calls", self.begun >= limit, limit.to_string()));
        let tokens = budget.tokens.and_then(|limit| over("tokens", self.used_tokens >= limit, limit.to_string()));
        let money = budget.money.and_then(|limit| over("in money", self.used_money >= limit, limit.to_string()));
        calls.or(tokens).or(money)
    }

    /// A call begins.
    pub(super) fn begin(&mut self, request: &Request) {
        self.begun += 1;
        if let Some(requests) = &mut self.requests {
            requests.level -= 1.0;
        }
        if let Some(tokens) = &mut self.tokens {
            tokens.level -= expected(request);
        }
    }

    /// A call has ended: what it took in truth stands in place of what was expected.
    pub(super) fn end(&mut self, request: &Request, answer: &Result<Reply, Failure>) {
        if let Some(tokens) = &mut self.tokens {
            tokens.level += expected(request);
        }
        self.take(answer);
    }

    /// What a call took counts, whoever has ended it.
    pub(super) fn take(&mut self, answer: &Result<Reply, Failure>) {
        let [read, written] = used(answer);
        self.used_tokens += read + written;
        self.used_money += self.limits.cost(read, written);
        if let Some(tokens) = &mut self.tokens {
            tokens.level -= (read + written) as f64;
        }
    }
}

/// Tokens that a call takes at most, as well as that can be told before.
fn expected(request: &Request) -> f64 {
    let read: usize = request.messages.iter().map(|message| message.content.len() / CHARACTERS + AROUND).sum();
    read as f64 + f64::from(request.sampling.max_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Budget, Price};
    use obvert_api::record::Message;

    fn request(max_tokens: u32) -> Request {
        let mut request = Request::new("m", vec![Message::new("user", "x".repeat(384))]);
        request.sampling.max_tokens = max_tokens;
        request
    }

    fn reply(prompt_tokens: u32, reply_tokens: u32) -> Result<Reply, Failure> {
        Ok(Reply { text: String::new(), prompt_tokens, reply_tokens, finished: true })
    }

    /// How many calls begin within so many seconds, each as soon as it may.
    fn begun(gate: &mut Gate, start: Instant, seconds: u64, end: impl Fn(&mut Gate)) -> u64 {
        let (mut now, mut count) = (start, 0);
        while now < start + Duration::from_secs(seconds) {
            match gate.due(now) {
                Some(due) => now = due,
                None => {
                    gate.begin(&request(100));
                    end(gate);
                    count += 1;
                }
            }
        }
        count
    }

    #[test]
    fn no_more_begins_than_the_limits_say() {
        let now = Instant::now();
        let limits = Limits { requests_per_minute: Some(120.0), ..Limits::default() };
        // Two a second, and one second's worth at the start.
        assert!((240..=243).contains(&begun(&mut Gate::of(limits, now), now, 120, |_| ())));
        // 200 tokens are expected of a call.
        let limits = Limits { tokens_per_minute: Some(6000.0), ..Limits::default() };
        assert!((60..=62).contains(&begun(&mut Gate::of(limits.clone(), now), now, 120, |_| ())));
        // It turns out to take 50.
        let end = |gate: &mut Gate| gate.end(&request(100), &reply(30, 20));
        assert!((240..=243).contains(&begun(&mut Gate::of(limits, now), now, 120, end)));
    }

    #[test]
    fn it_is_shut_as_long_as_the_model_says() {
        let now = Instant::now();
        let mut gate = Gate::of(Limits::default(), now);
        assert_eq!(gate.due(now), None);
        gate.shut(now, Duration::from_secs(9));
        gate.shut(now, Duration::from_secs(2));
        assert_eq!(gate.due(now), Some(now + Duration::from_secs(9)));
        assert_eq!(gate.due(now + Duration::from_secs(9)), None);
        gate.shut(now, Duration::MAX);
    }

    #[test]
    fn a_budget_is_used_up() {
        let is_used_up = |budget, calls: u32| {
            let price = Some(Price { prompt: 2.0, reply: 10.0 });
            let mut gate = Gate::of(Limits { budget, price, ..Limits::default() }, Instant::now());
            (0..calls).for_each(|_| {
                gate.begin(&request(9));
                gate.end(&request(9), &reply(1000, 300));
            });
            gate.used_up().is_some()
        };
        let (calls, tokens) =
            (Budget { calls: Some(3), ..Budget::default() }, Budget { tokens: Some(2600), ..Budget::default() });
        // A call costs half a cent.
        let money = Budget { money: Some(0.0099), ..Budget::default() };
        let found = [calls, tokens, money].map(|budget| (0..5).find(|calls| is_used_up(budget, *calls)));
        assert_eq!(found, [Some(3), Some(2), Some(2)]);
        assert!(!is_used_up(Budget::default(), 50));
    }
}
