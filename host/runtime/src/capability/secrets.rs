//! `holdfast:host/secrets`: values by the names that an operator gave them, where they are granted.

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::host::holdfast::host::secrets::{self, Error};
use crate::call::CallState;
use crate::grants::Denial;
use crate::text;

/// The name of the grant.
const SECRETS: &str = "secrets";
/// How much of a name that is not granted is shown.
const NAME_BYTES: usize = 64;

/// Adds the interface.
pub(crate) fn add(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    secrets::add_to_linker::<CallState, HasSelf<CallState>>(linker, |state| state)
}

impl secrets::Host for CallState {
    fn get(&mut self, name: String) -> wasmtime::Result<Result<String, Error>> {
        self.meter.host_call()?;
        if let Some(value) = self.grants.secret(&name) {
            return Ok(Ok(value.expose().to_owned()));
        }
        let name = text::one_line(&name, NAME_BYTES);
        let message = format!("the secret `{name}` is not granted");
        self.meter.denials.add(Denial {
            grant: SECRETS,
            asked: format!("the secret `{name}`"),
            reason: "it is not granted".to_owned(),
            hint: Some(format!("if that is meant, add `\"{name}\"` to `secrets` in the `allow` of this use")),
            times: 1,
        });
        Ok(Err(Error { code: "denied".into(), message }))
    }
}
