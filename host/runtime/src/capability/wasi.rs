//! WASI 0.2 but for HTTP, whole and empty: languages import it for their standard libraries, nothing of it is ever granted.
//!
//! Files and environment are empty and need no refusing. Sockets and name look-ups are refused here, before anything is
//! made, and the refusal is remembered: it explains why the guest failed afterwards.

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::{ip_name_lookup, tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{DynPollable, SocketError, SocketResult, TcpSocket, UdpSocket};

use crate::call::CallState;
use crate::grants::Denial;

/// The code under which a refusal is reported.
const NETWORK: &str = "network";

/// Adds all interfaces.
pub(crate) fn add(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    tcp_create_socket::add_to_linker::<CallState, NoNetwork>(linker, refusing)?;
    udp_create_socket::add_to_linker::<CallState, NoNetwork>(linker, refusing)?;
    ip_name_lookup::add_to_linker::<CallState, NoNetwork>(linker, refusing)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn refusing(state: &mut CallState) -> Refusing<'_> {
    Refusing(state)
}

struct NoNetwork;

impl HasData for NoNetwork {
    type Data<'a> = Refusing<'a>;
}

struct Refusing<'a>(&'a mut CallState);

impl Refusing<'_> {
    fn refuse<T>(&mut self) -> SocketResult<T> {
        self.0.meter.host_call().map_err(SocketError::trap)?;
        self.0.meter.denials.add(Denial {
            grant: NETWORK,
            asked: "access to the network".to_owned(),
            reason: "sockets and names are never granted, only HTTP is".to_owned(),
            hint: None,
            times: 1,
        });
        Err(ErrorCode::AccessDenied.into())
    }
}

impl network::Host for Refusing<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(
        &mut self,
        _error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(None)
    }
}

impl network::HostNetwork for Refusing<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.0.table.delete(network)?;
        Ok(())
    }
}

impl tcp_create_socket::Host for Refusing<'_> {
    fn create_tcp_socket(&mut self, _family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        self.refuse()
    }
}

impl udp_create_socket::Host for Refusing<'_> {
    async fn create_udp_socket(&mut self, _family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        self.refuse()
    }
}

impl ip_name_lookup::Host for Refusing<'_> {
    fn resolve_addresses(
        &mut self,
        _network: Resource<Network>,
        _name: String,
    ) -> SocketResult<Resource<ip_name_lookup::ResolveAddressStream>> {
        self.refuse()
    }
}

/// No stream is ever made, so these are only reached with a handle of another kind, which is a trap.
impl ip_name_lookup::HostResolveAddressStream for Refusing<'_> {
    fn resolve_next_address(
        &mut self,
        _stream: Resource<ip_name_lookup::ResolveAddressStream>,
    ) -> SocketResult<Option<IpAddress>> {
        self.refuse()
    }

    fn subscribe(
        &mut self,
        _stream: Resource<ip_name_lookup::ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        Err(wasmtime::Error::msg("no name look-up is under way"))
    }

    fn drop(&mut self, _stream: Resource<ip_name_lookup::ResolveAddressStream>) -> wasmtime::Result<()> {
        Ok(())
    }
}
