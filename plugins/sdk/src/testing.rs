//! Stands for the agent in native tests: what is answered to HTTP requests, which secrets there are.
//!
//! All of it belongs to the thread, so tests that run side by side do not see each other's. Native builds only.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::http::{HttpError, HttpErrorKind, Request, Response};

type Answer = Box<dyn Fn(&Request) -> Result<Response, HttpError>>;
/// Stores by name, keys by name.
pub(crate) type Stores = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

thread_local! {
    static ANSWER: RefCell<Option<Answer>> = const { RefCell::new(None) };
    static SENT: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
    static SECRETS: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
    static STATE: RefCell<Stores> = const { RefCell::new(BTreeMap::new()) };
}

/// From now on `answer` gives the answer to each request of this thread. Before the first, all are denied.
pub fn answer_http(answer: impl Fn(&Request) -> Result<Response, HttpError> + 'static) {
    ANSWER.set(Some(Box::new(answer)));
}

/// The requests that were sent on this thread since the last call.
pub fn take_http() -> Vec<Request> {
    SENT.take()
}

/// Grants a secret.
pub fn set_secret(name: impl Into<String>, value: impl Into<String>) {
    SECRETS.with_borrow_mut(|secrets| secrets.insert(name.into(), value.into()));
}

pub(crate) fn answered(request: &Request) -> Result<Response, HttpError> {
    SENT.with_borrow_mut(|sent| sent.push(request.clone()));
    ANSWER.with_borrow(|answer| match answer {
        Some(answer) => answer(request),
        None => Err(HttpError::new(HttpErrorKind::Denied, "the request is not granted")),
    })
}

pub(crate) fn secret(name: &str) -> Option<String> {
    SECRETS.with_borrow(|secrets| secrets.get(name).cloned())
}

pub(crate) fn state<T>(work: impl FnOnce(&mut Stores) -> T) -> T {
    STATE.with_borrow_mut(work)
}
