//! What Pingora asks of a connection beside reading and writing, answered by
//! the connection inside.

/// For a type with a field `inner` of Pingora's `Stream`.
macro_rules! wraps_stream {
    ($wrapper:ty) => {
        const _: () = {
            use std::sync::Arc;
            use std::time::Duration;

            use pingora::protocols::raw_connect::ProxyDigest;
            use pingora::protocols::tls::{SslDigest, TlsRef};
            use pingora::protocols::{
                ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown,
                SocketDigest, Ssl, TimingDigest, UniqueID, UniqueIDType,
            };

            #[async_trait::async_trait]
            impl Shutdown for $wrapper {
                async fn shutdown(&mut self) {
                    Shutdown::shutdown(&mut *self.inner).await;
                }
            }

            impl UniqueID for $wrapper {
                fn id(&self) -> UniqueIDType {
                    self.inner.id()
                }
            }

            impl Ssl for $wrapper {
                fn get_ssl(&self) -> Option<&TlsRef> {
                    self.inner.get_ssl()
                }

                fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
                    self.inner.get_ssl_digest()
                }

                fn selected_alpn_proto(&self) -> Option<ALPN> {
                    self.inner.selected_alpn_proto()
                }
            }

            impl GetTimingDigest for $wrapper {
                fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
                    self.inner.get_timing_digest()
                }

                fn get_read_pending_time(&self) -> Duration {
                    self.inner.get_read_pending_time()
                }

                fn get_write_pending_time(&self) -> Duration {
                    self.inner.get_write_pending_time()
                }
            }

            impl GetProxyDigest for $wrapper {
                fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
                    self.inner.get_proxy_digest()
                }
            }

            impl GetSocketDigest for $wrapper {
                fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
                    self.inner.get_socket_digest()
                }
            }

            impl Peek for $wrapper {}
        };
    };
}

pub(super) use wraps_stream;
