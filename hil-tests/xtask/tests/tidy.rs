//! The checkout is tidy, and each tidy check fails on an input that breaks its rule.

use hil_xtask::tidy::{self, Finding, Graph};
use hil_xtask::workspace_root;
use serde_json::json;

#[test]
fn the_checkout_is_tidy() {
    let found = tidy::check(&workspace_root()).expect("the checkout can be read");
    let list: Vec<String> = found.iter().map(Finding::to_string).collect();
    assert!(list.is_empty(), "{} findings:\n{}", list.len(), list.join("\n"));
}

/// A package and what it names, with the kind of naming.
type Member<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

/// Metadata of a made-up workspace.
fn graph(packages: &[Member<'_>], outside: &[(&str, &[&str])]) -> Graph {
    let ids: Vec<_> = packages.iter().map(|(name, _)| json!(name)).collect();
    let mut list: Vec<_> = packages
        .iter()
        .map(|(name, named)| {
            let named: Vec<_> = named.iter().map(|(to, kind)| json!({"name": to, "kind": kind})).collect();
            json!({"id": name, "name": name, "manifest_path": format!("/x/{name}/Cargo.toml"), "dependencies": named})
        })
        .collect();
    list.extend(outside.iter().map(|(name, _)| json!({"id": name, "name": name})));
    let link = |to: &str, kind: Option<&str>| json!({"pkg": to, "dep_kinds": [{"kind": kind}]});
    let mut nodes: Vec<_> = packages
        .iter()
        .map(|(name, named)| {
            json!({"id": name, "deps": named.iter().map(|(to, kind)| link(to, *kind)).collect::<Vec<_>>()})
        })
        .collect();
    nodes.extend(outside.iter().map(
        |(name, to)| json!({"id": name, "deps": to.iter().map(|to| link(to, None)).collect::<Vec<_>>()}),
    ));
    Graph::parse(&json!({"workspace_members": ids, "packages": list, "resolve": {"nodes": nodes}}))
        .expect("the made-up metadata has the shape of cargo's")
}

#[test]
fn an_arrow_that_points_up_is_found() {
    let up = graph(&[("sync-model", &[("sync-core", None)]), ("sync-core", &[("sync-model", None)])], &[]);
    let found = tidy::arrows(&up);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].place, "sync-model");
}

#[test]
fn tests_may_name_what_code_may_not() {
    let fine = graph(&[("drv-host", &[("drv-sim", Some("dev"))]), ("drv-sim", &[])], &[]);
    assert_eq!(tidy::arrows(&fine), vec![]);
    let code = graph(&[("drv-host", &[("drv-sim", None)]), ("drv-sim", &[])], &[]);
    assert_eq!(tidy::arrows(&code).len(), 1);
    let rig = |kind| graph(&[("drv-host", &[("hil-rig", kind)]), ("hil-rig", &[])], &[]);
    assert_eq!(tidy::arrows(&rig(Some("dev"))), vec![]);
    assert_eq!(tidy::arrows(&rig(None)).len(), 1);
    let pure = graph(&[("edge-core", &[("hil-rig", Some("dev"))]), ("hil-rig", &[])], &[]);
    assert_eq!(tidy::arrows(&pure).len(), 1);
}

#[test]
fn a_package_without_a_floor_is_found() {
    let found = tidy::arrows(&graph(&[("edge-extra", &[])], &[]));
    assert!(found[0].what.contains("no floor"), "{found:?}");
}

#[test]
fn a_broken_fence_is_found() {
    for (name, fenced) in [
        ("edge-agent", "rumqttc"),
        ("edge-agent", "serialport"),
        ("edge-agent", "btleplug"),
        ("sync-hq", "rusqlite"),
        ("edge-api", "axum"),
    ] {
        let broken = graph(&[(name, &[(fenced, None)])], &[(fenced, &[])]);
        let found = tidy::fences(&broken);
        assert_eq!(found.len(), 1, "{name} naming {fenced}: {found:?}");
    }
    let fine = graph(&[("sync-mqtt", &[("rumqttc", None)])], &[("rumqttc", &["tokio"]), ("tokio", &[])]);
    assert_eq!(tidy::fences(&fine), vec![]);
}

#[test]
fn a_runtime_in_a_pure_package_is_found_even_through_another_crate() {
    let direct = graph(&[("edge-core", &[("tokio", Some("dev"))])], &[("tokio", &[])]);
    assert_eq!(tidy::fences(&direct).len(), 1);
    let hidden = graph(&[("sync-store", &[("pool", None)])], &[("pool", &["tokio"]), ("tokio", &[])]);
    let found = tidy::fences(&hidden);
    assert!(found[0].what.contains("sync-store -> pool -> tokio"), "{found:?}");
}

#[test]
fn a_manifest_outside_the_lint_table_is_found() {
    assert_eq!(tidy::manifest("edge-agent", "[lints]\nworkspace = true\n", None), vec![]);
    assert_eq!(tidy::manifest("edge-agent", "[package]\n", None).len(), 1);
    let found = tidy::manifest("sync-core", "[lints]\nworkspace = true\n", Some("//! Header.\nuse std::io;"));
    assert!(found[0].what.contains("no_std"), "{found:?}");
}

#[test]
fn a_file_without_a_header_is_found() {
    assert_eq!(tidy::source("a.rs", "\n//! Says why.\nfn a() {}\n"), vec![]);
    assert_eq!(tidy::source("a.rs", "use x;\n//! Too late.\n").len(), 1);
    assert_eq!(tidy::source("a.rs", "").len(), 1);
    assert_eq!(tidy::source("a.toml", "x = 1"), vec![]);
}

#[test]
fn a_file_over_the_limit_is_found() {
    let lines = |count: usize| format!("//! Long.\n{}", "x\n".repeat(count - 1));
    assert_eq!(tidy::source("a.rs", &lines(tidy::FILE_LINES_MAX)), vec![]);
    assert_eq!(tidy::source("a.rs", &lines(tidy::FILE_LINES_MAX + 1)).len(), 1);
}

#[test]
fn unfinished_work_and_switched_off_tests_are_found() {
    for bad in [
        format!("// {}: later", concat!("TO", "DO")),
        format!("let x = 1; // {}", concat!("FIX", "ME")),
        format!("{}x);", concat!("dbg", "!(")),
        format!("{}]", concat!("#[ig", "nore")),
        format!("{} = \"slow\"]", concat!("#[ig", "nore")),
    ] {
        let found = tidy::source("a.rs", &format!("//! Header.\n{bad}\n"));
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
        assert_eq!(found[0].place, "a.rs:2");
    }
    assert_eq!(tidy::source("a.rs", "//! Header.\nlet mastodon = todo_list();\n"), vec![]);
}
