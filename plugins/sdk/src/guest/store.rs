//! A store as a component's exports.

use std::marker::PhantomData;
use std::time::Duration;

use crate::config;
use crate::context::Context;
use crate::store::{self, Body, Object, Page, Sink, Store, StoreError};

/// What `wit-bindgen` makes of the world `holdfast:store/store`.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/host-0.1.1", "../../wit/store-0.1.0"],
        world: "holdfast:store/store",
        pub_export_macro: true,
        generate_all,
    });
}

use bindings::exports::holdfast::store::{objects, plugin};
use bindings::holdfast::store::transfer;

/// A store as the component's exports.
pub struct Component<S>(PhantomData<S>);

impl<S: Store> plugin::Guest for Component<S> {
    fn describe() -> plugin::Description {
        plugin::Description {
            name: S::NAME.to_owned(),
            version: S::VERSION.to_owned(),
            summary: S::SUMMARY.to_owned(),
            config_schema: config::schema::<S::Config>(),
            wants: S::WANTS.iter().map(|&want| want.to_owned()).collect(),
            attributes: super::attributes(false),
        }
    }
}

type Facts = Vec<(String, String)>;

fn opened<S: Store>(config: &str, context: Facts) -> Result<S, objects::Error> {
    Ok(store::open::<S>(config, &Context::new(context))?)
}

impl<S: Store> objects::Guest for Component<S> {
    fn features(config: String) -> Result<Vec<String>, objects::Error> {
        Ok(store::features::<S>(&config)?.into_iter().map(|feature| feature.name().to_owned()).collect())
    }

    fn probe(config: String, context: Facts) -> Result<(), objects::Error> {
        Ok(opened::<S>(&config, context)?.probe()?)
    }

    fn put(
        config: String,
        context: Facts,
        path: String,
        body: &transfer::Body,
    ) -> Result<u64, objects::Error> {
        Ok(opened::<S>(&config, context)?.put(&path, &mut Given(body))?)
    }

    fn get(
        config: String,
        context: Facts,
        path: String,
        start: u64,
        end: Option<u64>,
        into: &transfer::Sink,
    ) -> Result<(), objects::Error> {
        Ok(opened::<S>(&config, context)?.get(&path, start, end, &mut Taking(into))?)
    }

    fn head(config: String, context: Facts, path: String) -> Result<Option<objects::Object>, objects::Error> {
        Ok(opened::<S>(&config, context)?.head(&path)?.map(Into::into))
    }

    fn list(
        config: String,
        context: Facts,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<objects::Page, objects::Error> {
        Ok(opened::<S>(&config, context)?.list(&prefix, after.as_deref(), limit)?.into())
    }

    fn delete(config: String, context: Facts, path: String) -> Result<(), objects::Error> {
        Ok(opened::<S>(&config, context)?.delete(&path)?)
    }

    fn sweep(config: String, context: Facts, age_seconds: u64) -> Result<u64, objects::Error> {
        Ok(opened::<S>(&config, context)?.sweep(Duration::from_secs(age_seconds))?)
    }
}

struct Given<'a>(&'a transfer::Body);

impl Body for Given<'_> {
    fn size_bytes(&self) -> Option<u64> {
        self.0.size_bytes()
    }

    fn read(&mut self, max_bytes: u32) -> Result<Vec<u8>, StoreError> {
        self.0.read(max_bytes).map_err(Into::into)
    }
}

struct Taking<'a>(&'a transfer::Sink);

impl Sink for Taking<'_> {
    fn begin(&mut self, size_bytes: u64, tag: &str) -> Result<(), StoreError> {
        self.0.begin(size_bytes, tag).map_err(Into::into)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.write(bytes).map_err(Into::into)
    }
}

impl From<transfer::Error> for StoreError {
    fn from(error: transfer::Error) -> StoreError {
        StoreError::new(error.code, error.message)
    }
}

impl From<StoreError> for objects::Error {
    fn from(error: StoreError) -> objects::Error {
        objects::Error { code: error.code, message: error.message, attributes: error.attributes }
    }
}

impl From<Object> for objects::Object {
    fn from(object: Object) -> objects::Object {
        let lock = object.locked_until.map(|until| ("locked-until".to_owned(), until));
        objects::Object {
            path: object.path,
            size_bytes: object.size_bytes,
            modified: object.modified,
            tag: object.tag,
            attributes: lock.into_iter().collect(),
        }
    }
}

impl From<Page> for objects::Page {
    fn from(page: Page) -> objects::Page {
        objects::Page { objects: page.objects.into_iter().map(Into::into).collect(), next: page.next }
    }
}
