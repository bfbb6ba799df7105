//! Real components in a real host: what they can do, how they end, and how they come and go.

mod calls;
mod figures;
mod grants;
mod harness;
mod loading;
mod reload;
mod servers;
