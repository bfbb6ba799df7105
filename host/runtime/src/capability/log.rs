//! `holdfast:host/log`: lines into the agent's log.

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::holdfast::host::log;
use crate::call::CallState;

/// Adds the interface.
pub(crate) fn add(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    log::add_to_linker::<CallState, HasSelf<CallState>>(linker, |state| state)
}

impl log::Host for CallState {
    fn write(&mut self, level: String, message: String) -> wasmtime::Result<()> {
        self.meter.host_call()?;
        self.output.log(&level, &message);
        Ok(())
    }
}
