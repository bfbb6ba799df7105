//! A notifier as a component's exports.

use std::marker::PhantomData;

use crate::notifier::{Event, Notifier, NotifyError, Receipt, deliver};
use crate::{Severity, config};

/// What `wit-bindgen` makes of the world `holdfast:notifier/notifier`.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/host-0.1.1", "../../wit/notifier-0.1.0"],
        world: "holdfast:notifier/notifier",
        pub_export_macro: true,
        generate_all,
    });
}

use bindings::exports::holdfast::notifier::{notify, plugin};

/// A notifier as the component's exports.
pub struct Component<N>(PhantomData<N>);

impl<N: Notifier> plugin::Guest for Component<N> {
    fn describe() -> plugin::Description {
        plugin::Description {
            name: N::NAME.to_owned(),
            version: N::VERSION.to_owned(),
            summary: N::SUMMARY.to_owned(),
            config_schema: config::schema::<N::Config>(),
            wants: N::WANTS.iter().map(|&want| want.to_owned()).collect(),
            attributes: super::attributes(false),
        }
    }
}

impl<N: Notifier> notify::Guest for Component<N> {
    fn notify(event: notify::Event, config: String) -> Result<notify::Receipt, notify::Error> {
        let event = Event {
            id: event.id,
            time: event.time,
            kind: event.kind,
            severity: Severity::named(&event.severity),
            summary: event.summary,
            cluster: event.cluster,
            cloudevent: event.cloudevent,
            attributes: event.attributes,
        };
        deliver::<N>(&event, &config).map(Into::into).map_err(Into::into)
    }
}

impl From<Receipt> for notify::Receipt {
    fn from(receipt: Receipt) -> notify::Receipt {
        notify::Receipt { summary: receipt.summary, attributes: receipt.attributes }
    }
}

impl From<NotifyError> for notify::Error {
    fn from(error: NotifyError) -> notify::Error {
        let wait = error.retry_after_seconds.map(|seconds| ("retry-after".to_owned(), seconds.to_string()));
        notify::Error { code: error.code, message: error.message, attributes: wait.into_iter().collect() }
    }
}
