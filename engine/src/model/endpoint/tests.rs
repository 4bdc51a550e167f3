use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::time::UNIX_EPOCH;

use tempfile::TempDir;

use super::*;
use crate::model::{Then, Usage};

/// Answers the n-th call (from 1, over all lanes) as told.
struct Told<F> {
    calls: AtomicUsize,
    answer: F,
}

impl<F: Fn(usize) -> Result<String, String> + Send + Sync> Model for Told<F> {
    fn identity(&self) -> String {
        "told".into()
    }

    fn call(&self, requests: &[Request], _: Option<Duration>) -> Vec<Result<Reply, Failure>> {
        let nth = self.calls.fetch_add(1, SeqCst) + 1;
        let text = (self.answer)(nth);
        let reply = |text| Reply { text, prompt_tokens: 1, reply_tokens: 1, finished: true };
        requests.iter().map(|_| text.clone().map(reply).map_err(Failure::from)).collect()
    }
}

struct Asked {
    endpoint: Arc<Endpoint>,
    replies: Receiver<Result<Reply, String>>,
    _folder: TempDir,
}

/// One call to a model that answers so.
fn asked(
    answer: impl Fn(usize) -> Result<String, String> + Send + Sync + 'static,
    timeout_ms: u64,
    retries: u32,
) -> Asked {
    let timeout_s = (timeout_ms > 0).then_some(timeout_ms as f64 / 1e3);
    let limits = Limits { max_in_flight: 1, timeout_s, retries: Some(retries), ..Limits::default() };
    let folder = tempfile::tempdir().unwrap();
    let memo = Arc::new(Memo::open(&folder.path().join("memo")).unwrap());
    let model = Arc::new(Told { calls: AtomicUsize::new(0), answer });
    let named = Named { pipeline: "p", name: "m", model, tracer: None };
    let endpoint = Endpoint::start(named, memo, limits, None, Arc::new(|_, cause| panic!("{cause}")));
    let (to, replies) = channel();
    submit(&endpoint, move |reply, _| drop(to.send(reply)));
    Asked { endpoint, replies, _folder: folder }
}

/// By all stages.
fn used(endpoint: &Endpoint) -> Usage {
    let mut all = Usage::default();
    endpoint.usage().values().for_each(|usage| all.add(usage));
    all
}

fn submit(endpoint: &Endpoint, then: impl Fn(Result<Reply, String>, Via) + Send + Sync + 'static) {
    submit_sample(endpoint, 0, then);
}

fn submit_sample(endpoint: &Endpoint, sample: u32, then: impl Fn(Result<Reply, String>, Via) + Send + Sync + 'static) {
    let request = Request { sample, ..Request::new("m", Vec::new()) };
    let call = Call {
        identity: endpoint.identify("build", &request),
        request,
        stage: "stage".into(),
        record: "record".into(),
        root: 0,
        lap: 0,
        since: UNIX_EPOCH,
    };
    endpoint.submit(call, ticket(), Arc::new(move |_, reply, via| then(reply, via)));
}

#[test]
fn a_call_that_failed_and_nobody_waits_for_is_not_made_again() {
    let request = Request::new("m", Vec::new());
    let identity = Identity::of("build", "told", &request);
    let call =
        Call { identity, request, stage: "stage".into(), record: "record".into(), root: 0, lap: 0, since: UNIX_EPOCH };
    let begun = || {
        let mut queue = Queue::behind(gate::Gate::of(Limits::default(), Instant::now()));
        queue.push(call.clone(), 1, Arc::new(|_, _, _| ()));
        let queued = queue.pop(1, 1, |_, _| true).unwrap().remove(0);
        (queue, queued)
    };
    let (mut queue, queued) = begun();
    queue.push_later(queued);
    assert!(queue.next_due().is_some() && queue.withdraw(&identity.key, 1) && queue.next_due().is_none());
    // It fails after it was withdrawn.
    let (mut queue, queued) = begun();
    assert!(queue.withdraw(&identity.key, 1));
    queue.push_later(queued);
    assert!(queue.next_due().is_none() && queue.take_waiters(&identity.key).is_empty());
    assert!(!queue.join(&identity.key, 2, &(Arc::new(|_, _, _| ()) as ReplyTo)), "it is under way");
}

#[test]
fn a_model_that_is_not_reached_while_it_answers_nobody_is_down() {
    let now = Instant::now();
    let mut queue = Queue::behind(gate::Gate::of(Limits::default(), now));
    let request = Request::new("m", Vec::new());
    let identity = Identity::of("build", "told", &request);
    let call =
        Call { identity, request, stage: "stage".into(), record: "record".into(), root: 0, lap: 0, since: UNIX_EPOCH };
    queue.push(call, 1, Arc::new(|_, _, _| ()));
    let queued = queue.pop(1, 1, |_, _| true).unwrap().remove(0);
    let down =
        |queue: &Queue| [Then::Unreached, Then::Wait(None), Then::Again].map(|then| queue.is_down(&queued, then));
    assert_eq!(down(&queue), [true, false, false]);
    // Another call was answered before it was begun, and since.
    queue.answered = now.checked_sub(Duration::from_secs(1));
    assert_eq!(down(&queue), [true, false, false]);
    queue.answered = Some(Instant::now());
    assert_eq!(down(&queue), [false; 3]);
}

#[test]
fn a_batch_is_of_calls_that_join_the_first() {
    let mut queue = Queue::behind(gate::Gate::of(Limits::default(), Instant::now()));
    for (root, adapter) in (0..).zip(["a", "b", "a", "b", "a"]) {
        let mut request = Request::new(&root.to_string(), Vec::new());
        request.adapter = Some(adapter.into());
        let identity = Identity::of("build", "told", &request);
        let call =
            Call { identity, request, stage: "stage".into(), record: "record".into(), root, lap: 0, since: UNIX_EPOCH };
        queue.push(call, root, Arc::new(|_, _, _| ()));
    }
    let mut roots = |most, room| -> Option<Vec<u64>> {
        let begun = queue.pop(most, room, |first, next| first.adapter == next.adapter)?;
        Some(begun.iter().map(|queued| queued.call.root).collect())
    };
    // One for which there is no room waits, and is not cut; only those that join count.
    assert_eq!((roots(2, 1), roots(2, 2)), (None, Some(vec![0, 2])));
    assert_eq!((roots(9, 1), roots(9, 2)), (None, Some(vec![1, 3])));
    assert_eq!((roots(9, 0), roots(9, 1), roots(9, 0)), (None, Some(vec![4]), Some(vec![])));
}

fn fails_until(good: usize) -> impl Fn(usize) -> Result<String, String> {
    move |nth| if nth < good { Err(format!("attempt {nth}")) } else { Ok(format!("answer {nth}")) }
}

#[test]
fn a_call_that_fails_is_made_again_as_often_as_allowed() {
    let asked_for = |retries| {
        let asked = asked(fails_until(3), 0, retries);
        let reply = asked.replies.recv().unwrap();
        asked.endpoint.close();
        (reply.map(|reply| reply.text), used(&asked.endpoint).failures)
    };
    assert_eq!(asked_for(0), (Err("attempt 1".into()), 1));
    assert_eq!(asked_for(1), (Err("attempt 2 (2 attempts)".into()), 2));
    assert_eq!(asked_for(2), (Ok("answer 3".into()), 2));
}

#[test]
fn a_failure_is_not_remembered_as_an_answer() {
    let asked = asked(fails_until(2), 0, 0);
    assert!(asked.replies.recv().unwrap().is_err());
    let (to, again) = channel();
    submit(&asked.endpoint, move |reply, via| drop(to.send((reply.map(|reply| reply.text), via))));
    assert_eq!(again.recv().unwrap(), (Ok("answer 2".into()), Via::Call));
}

#[test]
fn a_call_that_hangs_is_given_up_and_another_lane_goes_on() {
    let slow = |nth| {
        std::thread::sleep(Duration::from_millis(if nth == 1 { 600 } else { 0 }));
        Ok(format!("answer {nth}"))
    };
    let without = asked(slow, 100, 0);
    assert_eq!(without.replies.recv().unwrap(), Err("no reply within 0.1 s".into()));
    let again = asked(slow, 100, 1);
    assert_eq!(again.replies.recv().unwrap().unwrap().text, "answer 2");
    // What comes late does not take the place of what was used.
    std::thread::sleep(Duration::from_millis(800));
    let identity = again.endpoint.identify("build", &Request::new("m", Vec::new()));
    assert_eq!(again.endpoint.recall(&identity.key, &"stage".into()).unwrap().unwrap().text, "answer 2");
    again.endpoint.close();
}

#[test]
fn equal_calls_in_flight_cost_one() {
    let slow = |nth| {
        std::thread::sleep(Duration::from_millis(200));
        Ok(format!("answer {nth}"))
    };
    let asked = asked(slow, 0, 0);
    let hear = |endpoint: &Endpoint| {
        let (to, heard) = channel();
        submit(endpoint, move |reply, via| drop(to.send((reply, via))));
        heard
    };
    let second = hear(&asked.endpoint);
    let first = asked.replies.recv().unwrap();
    assert_eq!(second.recv().unwrap(), (first.clone(), Via::SameCall));
    assert_eq!(used(&asked.endpoint).calls, 1);
    assert_eq!(hear(&asked.endpoint).recv().unwrap(), (first, Via::Memo));
}

#[test]
fn a_call_is_in_flight_until_its_reply_is_on_disk() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let answer = move |nth| {
        counted.store(nth, SeqCst);
        Ok(format!("answer {nth}"))
    };
    let asked = asked(answer, 0, 0);
    asked.replies.recv().unwrap().unwrap();
    let disk = asked.endpoint.putting.lock().unwrap();
    let (to, replies) = channel();
    for sample in 1..=3 {
        let to = to.clone();
        submit_sample(&asked.endpoint, sample, move |reply, _| drop(to.send(reply)));
    }
    // The disk takes nothing: one reply waits for it, and no other call begins.
    assert!(replies.recv_timeout(Duration::from_millis(300)).is_err());
    assert_eq!((begun.load(SeqCst), asked.endpoint.queue().in_flight()), (2, 1));
    drop(disk);
    assert!((0..3).all(|_| replies.recv().unwrap().is_ok()));
    asked.endpoint.close();
}
