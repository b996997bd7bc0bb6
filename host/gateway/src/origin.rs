//! Which web page a request comes from, and under which name it came here, as its browser says.
//!
//! **Invariant**: a page that was served under a name is never taken for the server's own, since whoever holds the name may point it
//! at this machine.

use std::net::IpAddr;

use axum::http::{HeaderMap, header, request::Parts, uri::Authority};

/// Whether the request asks for a server that is neither this machine nor an allowed origin. A browser always names the one that
/// it was told to ask; whoever names none is no browser.
pub(crate) fn is_foreign_host(head: &Parts, allowed: &[String]) -> bool {
    let asked = head.headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let mut asked = asked.chain(head.uri.authority().map(Authority::as_str));
    asked.any(|host| !is_loopback(host) && !allowed.iter().any(|one| one == "*" || authority(one) == Some(host)))
}

/// Whether the request comes from a page that is neither allowed nor the server's own. A request without `Origin` comes from no
/// page.
pub(crate) fn is_foreign(headers: &HeaderMap, allowed: &[String]) -> bool {
    headers.get_all(header::ORIGIN).iter().any(|origin| match origin.to_str() {
        Ok(origin) => !allowed.iter().any(|one| one == "*" || one == origin) && !is_own(headers, origin),
        Err(_) => true,
    })
}

/// The `/docs` page of a server on this machine.
fn is_own(headers: &HeaderMap, origin: &str) -> bool {
    let Some(authority) = authority(origin) else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host == Some(authority) && is_loopback(authority)
}

fn authority(origin: &str) -> Option<&str> {
    origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
}

fn is_loopback(authority: &str) -> bool {
    let host = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let host = host.map_or(authority, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        extract::Request,
        http::{HeaderMap, HeaderValue},
    };

    use super::{is_foreign, is_foreign_host};

    #[test]
    fn a_host_is_foreign_unless_it_is_this_machine_or_allowed() {
        let check = |uri: &str, hosts: &[&str], allowed: &[&str], foreign: bool| {
            let mut request = Request::get(uri);
            for host in hosts {
                request = request.header("host", *host);
            }
            let head = request.body(Body::empty()).unwrap().into_parts().0;
            let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            assert_eq!(is_foreign_host(&head, &allowed), foreign, "{uri} {hosts:?} {allowed:?}");
        };
        for own in ["127.0.0.1:3100", "127.8.9.1", "localhost", "localhost:3100", "[::1]:3100"] {
            check("/", &[own], &[], false);
        }
        for other in
            ["evil.example", "evil.example:3100", "localhost.evil.example", "127.0.0.1.evil.example:3100", "10.0.0.1", ""]
        {
            check("/", &[other], &[], true);
        }
        check("/", &[], &[], false);
        check("/", &["localhost", "evil.example"], &[], true);
        check("http://evil.example/", &["localhost"], &[], true);
        check("/", &["app.example.com"], &["https://app.example.com"], false);
        check("/", &["app.example.com:8443"], &["https://app.example.com"], true);
        check("/", &["evil.example"], &["*"], false);
    }

    #[test]
    fn a_page_is_foreign_unless_it_is_allowed_or_the_servers_own() {
        let check = |origin: Option<&'static str>, host: &'static str, allowed: &[&str], foreign: bool| {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static(host));
            headers.extend(origin.map(|origin| (axum::http::header::ORIGIN, HeaderValue::from_static(origin))));
            let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            assert_eq!(is_foreign(&headers, &allowed), foreign, "{origin:?} {host} {allowed:?}");
        };
        check(None, "127.0.0.1:3100", &[], false);
        check(Some("https://evil.example"), "127.0.0.1:3100", &[], true);
        check(Some("null"), "127.0.0.1:3100", &[], true);
        check(Some("https://app.example.com"), "127.0.0.1:3100", &["https://app.example.com"], false);
        check(Some("https://app.example.com.evil.example"), "127.0.0.1:3100", &["https://app.example.com"], true);
        check(Some("https://evil.example"), "127.0.0.1:3100", &["*"], false);
        for own in ["127.0.0.1:3100", "localhost:3100", "[::1]:3100", "localhost"] {
            let origin: &'static str = Box::leak(format!("http://{own}").into_boxed_str());
            check(Some(origin), own, &[], false);
        }
        check(Some("http://127.0.0.1:8000"), "127.0.0.1:3100", &[], true);
        // A name that its owner points at this machine.
        check(Some("http://evil.example:3100"), "evil.example:3100", &[], true);
    }
}
