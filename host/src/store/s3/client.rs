//! From options to the SDK's client: TLS, proxy, credentials, region, limits.
//!
//! The SDK's own retries and stall detection are off: `Bucket::call` does both, for it also has to read credentials
//! anew, and to tell an object of ours from another's when an answer was lost.

use std::path::Path;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    RuntimeComponents, SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::credentials::FileCredentials;
use super::errors::{Kind, S3Error};
use super::{Checksums, Credentials, Options};

/// The region that a signature names when nobody says one and the endpoint is not Amazon's: what most servers expect.
const REGION_ELSEWHERE: &str = "us-east-1";
/// Off a cloud nobody answers at the metadata service's address: little time is given to it.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);
const METADATA_ATTEMPTS: u32 = 2;
/// Longest time for the whole chain of credentials: a web identity or an assumed role needs several requests.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(20);

/// Builds a client. Reads the authority's file, and looks for a region when none is given.
pub(super) async fn build(options: &Options) -> Result<Client, S3Error> {
    let http = http_client(options.ca.as_deref(), ProxyConfig::from_env())?;
    let provider = ProviderConfig::without_region().with_http_client(http.clone());
    // A proxy would give its own machine's metadata, if any: no other SDK asks through one.
    let direct =
        ProviderConfig::without_region().with_http_client(http_client(None, ProxyConfig::disabled())?);
    let metadata = imds::Client::builder()
        .configure(&direct)
        .max_attempts(METADATA_ATTEMPTS)
        .connect_timeout(METADATA_TIMEOUT)
        .read_timeout(METADATA_TIMEOUT)
        .build();
    let region = region(options, &provider, &metadata).await?;
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .region(region.clone())
        .force_path_style(options.path_style)
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(options.connect_timeout).build());
    config = match options.checksums {
        Checksums::WhenSupported(_) => config
            .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
            .response_checksum_validation(ResponseChecksumValidation::WhenSupported),
        Checksums::WhenRequired => config
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired),
    };
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(endpoint);
    }
    config = match &options.credentials {
        // Read at each request: a look at the files costs less than a stale key.
        Credentials::Keys(keys) => config
            .credentials_provider(FileCredentials::new(keys.clone()))
            .identity_cache(IdentityCache::no_cache()),
        Credentials::Chain { profile } => {
            let mut chain = DefaultCredentialsChain::builder()
                .configure(provider.with_region(Some(region.clone())))
                .imds_client(metadata)
                .region(region);
            if let Some(profile) = profile {
                chain = chain.profile_name(profile);
            }
            config
                .credentials_provider(SharedCredentialsProvider::new(chain.build().await))
                .identity_cache(IdentityCache::lazy().load_timeout(CREDENTIALS_TIMEOUT).build())
        }
    };
    Ok(Client::from_conf(config.build()))
}

async fn region(
    options: &Options,
    provider: &ProviderConfig,
    metadata: &imds::Client,
) -> Result<Region, S3Error> {
    if let Some(region) = &options.region {
        return Ok(Region::new(region.clone()));
    }
    let mut profile = ProfileFileRegionProvider::builder().configure(provider);
    if let Credentials::Chain { profile: Some(name) } = &options.credentials {
        profile = profile.profile_name(name);
    }
    let told =
        RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()).or_else(profile.build());
    let found = if options.endpoint.is_some() {
        told.or_else(Region::new(REGION_ELSEWHERE)).region().await
    } else {
        let instance = imds::region::ImdsRegionProvider::builder().imds_client(metadata.clone()).build();
        told.or_else(instance).region().await
    };
    found.ok_or_else(|| {
        S3Error::new(
            Kind::Region,
            "no region is known: none in the store's table, the environment, a profile or the instance",
        )
    })
}

fn http_client(ca: Option<&Path>, proxy: ProxyConfig) -> Result<SharedHttpClient, S3Error> {
    let trust = match ca {
        None => TrustStore::default(),
        Some(path) => TrustStore::empty().with_pem_certificate(authority(path)?),
    };
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| S3Error::new(Kind::Request, error.to_string()))?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .proxy_config(proxy.clone())
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    }))
}

/// The file of an authority, known to be one: the SDK takes it on trust, and panics at anything else.
fn authority(path: &Path) -> Result<Vec<u8>, S3Error> {
    let bad = |reason: String| {
        S3Error::new(Kind::Request, format!("the authority `{}` cannot be used: {reason}", path.display()))
    };
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(format!("it is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() { Err(bad("there is no certificate in it".to_owned())) } else { Ok(pem) }
}
