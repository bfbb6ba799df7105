//! Real components in a real host: what they can do, how they end, and how they come and go.

mod calls;
mod figures;
mod frozen;
mod grants;
mod harness;
mod hostile;
mod loading;
mod notifiers;
mod rebinding;
mod reload;
mod servers;
