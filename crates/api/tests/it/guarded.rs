//! The route table's policies: they exist, and whoever has no rights gets through none of them.

use bessemer_api::versions::{Method, ROUTES};
use bessemer_policy::DEFAULTS;

#[test]
fn every_policy_of_the_table_exists() {
    for route in ROUTES {
        for endpoint in route.endpoints {
            let known = DEFAULTS.iter().any(|d| d.name == endpoint.policy);
            let free = route.public && endpoint.policy.is_empty();
            assert!(
                known || free,
                "{} {}: {:?}",
                endpoint.method.as_str(),
                route.path,
                endpoint.policy
            );
        }
    }
}

/// Every endpoint with the path's places filled in; `ident` is a node, `port` one of its ports.
pub fn endpoints(node: &str, port: &str) -> Vec<(Method, String, &'static str)> {
    let mut all = Vec::new();
    for route in ROUTES.iter().filter(|route| !route.public) {
        let path: Vec<&str> = route
            .path
            .split('/')
            .map(|segment| match segment {
                "{ident}" => node,
                "{port}" => port,
                other if other.starts_with('{') => "0000000a-0000-4000-8000-0000000000ff",
                other => other,
            })
            .collect();
        for endpoint in route.endpoints {
            all.push((endpoint.method, path.join("/"), endpoint.policy));
        }
    }
    all
}
