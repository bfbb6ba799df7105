//! Signed plugins: what Holdfast signs minisign verifies, and the other way round.

use std::fs;
use std::path::Path;

use holdfast_tests::cluster::temporary_directory;
use holdfast_tests::site::{finish, holdfast};
use holdfast_tests::{Cluster, Site, plugins, tools};

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The public key in a `.pub` file.
fn public_key(path: &Path) -> String {
    let content = fs::read_to_string(path).expect("a key was written");
    content.lines().nth(1).expect("a key has two lines").to_owned()
}

#[test]
fn keys_and_signatures_are_those_of_minisign() {
    if tools::stock("minisign").is_none() {
        return;
    }
    let directory = temporary_directory();
    let path = |name: &str| directory.path().join(name);
    let plugin = path("required-keys.wasm");
    fs::copy(plugins::built("required-keys"), &plugin).expect("a plugin can be copied");
    let signature = path("required-keys.wasm.minisig");
    let minisign =
        |arguments: &[&str]| finish(tools::program("minisign").args(arguments).current_dir(directory.path()));
    let plugin = text(&plugin);

    // Ours, with a password; theirs verifies, and theirs signs with our key.
    fs::write(path("password"), "correct horse\n").expect("a file can be written");
    let (password, ours) = (text(&path("password")), text(&path("ours.key")));
    holdfast(&["plugin", "keygen", &ours, "--password-file", &password]).exits(0);
    holdfast(&["plugin", "keygen", &ours, "--password-file", &password])
        .exits(2)
        .explains(&["is there already"]);
    let ours_public = text(&path("ours.key.pub"));
    holdfast(&["plugin", "sign", &plugin, "--key", &ours]).exits(2).explains(&["--password-file"]);
    holdfast(&["plugin", "sign", &plugin, "--key", &ours, "--password-file", &password]).exits(0);
    minisign(&["-V", "-p", &ours_public, "-m", &plugin]).exits(0);
    let verify = |key: &str| holdfast(&["plugin", "verify", &plugin, "--public-key", key]);
    verify(&ours_public).exits(0);

    // Theirs, without one; ours verifies, and ours signs with their key.
    minisign(&["-G", "-W", "-p", "theirs.pub", "-s", "theirs.key"]).exits(0);
    let theirs_public = public_key(&path("theirs.pub"));
    verify(&theirs_public).exits(1);
    minisign(&["-S", "-s", "theirs.key", "-m", &plugin, "-t", "required-keys 0.1.0"]).exits(0);
    let verified = verify(&theirs_public);
    assert!(verified.exits(0).stdout.contains("required-keys 0.1.0"), "{verified}");
    fs::remove_file(&signature).expect("it is there");
    verify(&theirs_public).exits(1);
    holdfast(&["plugin", "sign", &plugin, "--key", &text(&path("theirs.key"))]).exits(0);
    minisign(&["-V", "-P", &theirs_public, "-m", &plugin]).exits(0);

    // A secret key where a public one belongs is not repeated.
    let secret = public_key(&path("theirs.key"));
    let mistaken = verify(&text(&path("theirs.key")));
    mistaken.exits(2).explains(&["secret key"]);
    assert!(!mistaken.stderr.contains(&secret[20..]), "{mistaken}");
}

#[test]
fn an_agent_that_wants_signatures_runs_nothing_else() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "b");
    let directory = temporary_directory();
    let key = text(&directory.path().join("signing.key"));
    let made = holdfast(&["plugin", "keygen", &key, "--no-password"]);
    let trusted = format!("[\"{}\"]", public_key(&directory.path().join("signing.key.pub")));
    // What it prints is the configuration.
    assert!(made.exits(0).stdout.contains(&trusted), "{made}");
    let site = Site::of(&cluster)
        .plugins(&["required-keys"])
        .set("plugins", "trust", "\"signed\"")
        .set("plugins", "trusted_keys", &trusted)
        .chain("sanity", &[r#"{ plugin = "required-keys", config = { rules = [{ key = "/a" }] } }"#]);
    site.holdfast(&["config", "check"]).exits(1).says(&["is not signed", "holdfast plugin sign"]);
    site.holdfast(&["backup"]).exits(1);
    assert_eq!(site.newest_record()["outcome"], "inconclusive");

    let plugin = text(&site.path("plugins/required-keys.wasm"));
    site.holdfast(&["plugin", "sign", &plugin, "--key", &key]).exits(0);
    let list = site.holdfast(&["plugin", "list", "--output", "json"]).exits(0).json();
    assert_eq!(list[0]["signature"]["state"], "trusted", "{list}");
    site.holdfast(&["verify", "latest"]).exits(0);

    // One changed byte, and the name is the signed one still.
    let mut bytes = fs::read(&plugin).expect("it is there");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    fs::write(&plugin, &bytes).expect("a file can be written");
    site.holdfast(&["verify", "latest"]).exits(1);
    site.holdfast(&["plugin", "verify", &plugin]).exits(1);
    let check = site.holdfast(&["plugin", "check", &plugin]);
    assert!(check.exits(1).stdout.contains("not over these bytes"), "{check}");
}
