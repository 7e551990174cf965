// SPDX-License-Identifier: MIT OR Apache-2.0
//! Key pairs and signatures, judged by the program minisign.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::common::{output, pivot_image, program, refusal};
use super::{bundle, inspect, keys, made, unpack};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_never_overwritten() {
    let base = tempfile::tempdir().unwrap();
    let out = base.path().join("new/keys");
    let text = output(pivot_image().arg("keys").arg("-o").arg(&out).arg("--json"));
    assert!(text.contains("pivot.key") && text.contains("pivot.pub"), "{text}");
    assert_eq!(mode(&out.join("pivot.key")), 0o600);
    let before = fs::read(out.join("pivot.key")).unwrap();
    let again = |name: &str| {
        refusal(pivot_image().arg("keys").arg("-o").arg(&out).args(["--name", name])).0
    };
    assert!(again("pivot").contains("pivot.key is there already"), "{}", again("pivot"));
    fs::write(out.join("half.pub"), "").unwrap();
    assert!(again("half").contains("half.pub is there already"));
    assert!(!out.join("half.key").exists());
    assert!(again("../x").contains("it is a file name") && again("").contains("it is a file name"));
    assert_eq!(fs::read(out.join("pivot.key")).unwrap(), before);
    // and it says that nothing protects it
    let mut loud = Command::new(env!("CARGO_BIN_EXE_pivot-image"));
    let loud = loud.arg("keys").arg("-o").arg(&out).args(["--name", "b"]).output().unwrap();
    let text = String::from_utf8(loud.stderr).unwrap();
    assert!(text.contains("b.key is not encrypted: whoever reads it can sign"), "{text}");
}

/// Runs minisign with the password on its standard input.
fn minisign(password: &str, configure: impl Fn(&mut Command)) -> Option<String> {
    let mut command = program("minisign", "minisign")?;
    configure(&mut command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    Some(text)
}

#[test]
fn minisign_accepts_our_keys_and_signatures() {
    let Some(project) = made() else { return };
    let path = |name: &str| project.path(name);
    unpack(&path("a.bundle"), &path("unpacked"));
    let verified = minisign("", |command| {
        command.args(["-V", "-p"]).arg(path("keys/pivot.pub"));
        command
            .arg("-m")
            .arg(path("unpacked/manifest"))
            .arg("-x")
            .arg(path("unpacked/manifest.minisig"));
    });
    let Some(verified) = verified else { return };
    assert!(verified.contains("Trusted comment: pivot revision=r1 version=1"), "{verified}");
    // it signs with our key, and with an encrypted one
    project.write("password", b"open sesame\nmore\n");
    let password = path("password");
    keys(&path("keys"), &["--name", "locked", "--password-file", password.to_str().unwrap()]);
    for (name, typed) in [("pivot", ""), ("locked", "open sesame\n")] {
        let signature = path(&format!("{name}.minisig"));
        minisign(typed, |command| {
            command
                .arg("-S")
                .arg("-s")
                .arg(path(&format!("keys/{name}.key")))
                .arg("-x")
                .arg(&signature);
            command
                .arg("-m")
                .arg(path("unpacked/manifest"))
                .args(["-t", "pivot revision=r1 version=1"]);
        });
        fs::copy(&signature, path("out/revision/manifest.minisig")).unwrap();
        let (directory, out) = (path("out"), path("by-minisign.bundle"));
        output(pivot_image().arg("bundle").arg(directory).arg("-o").arg(&out));
        let text = output(&mut inspect(&out, &path("keys")));
        assert!(text.contains(&format!("signature: verified with {name}.pub")), "{text}");
    }
}

#[test]
fn we_accept_keys_of_minisign() {
    let Some(project) = made() else { return };
    let path = |name: &str| project.path(name);
    for (name, typed, more) in [("plain", "", "-W"), ("locked", "secret\nsecret\n", "-f")] {
        let generated = minisign(typed, |command| {
            command.args(["-G", more, "-p"]).arg(path(&format!("keys/{name}.pub")));
            command.arg("-s").arg(path(&format!("keys/{name}.key")));
        });
        if generated.is_none() {
            return;
        }
    }
    output(&mut bundle(&project, "out", "keys/plain.key", "plain.bundle"));
    let (error, code) = refusal(&mut bundle(&project, "out", "keys/locked.key", "locked.bundle"));
    assert!(code == 1 && error.contains("a password file is needed"), "{error}");
    project.write("password", b"wrong\n");
    let with_password = || {
        let mut command = bundle(&project, "out", "keys/locked.key", "locked.bundle");
        command.arg("--password-file").arg(path("password"));
        command
    };
    let (error, _) = refusal(&mut with_password());
    assert!(error.contains("Wrong password for that key"), "{error}");
    assert!(!path("locked.bundle").exists());
    project.write("password", b"secret\n");
    output(&mut with_password());
    for name in ["plain", "locked"] {
        unpack(&path(&format!("{name}.bundle")), &path(name));
        minisign("", |command| {
            command.arg("-V").arg("-p").arg(path(&format!("keys/{name}.pub")));
            command.arg("-m").arg(path(&format!("{name}/manifest")));
        });
        let text = output(&mut inspect(&path(&format!("{name}.bundle")), &path("keys")));
        assert!(text.contains(&format!("signature: verified with {name}.pub")), "{text}");
    }
}

/// Whose signature fails, of that nothing more is read: it is not that its files are missing.
#[test]
fn other_keys_say_nothing_of_the_files() {
    let Some(project) = made() else { return };
    keys(&project.path("others"), &[]);
    let found = inspect(&project.path("a.bundle"), &project.path("others")).output().unwrap();
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(!text.contains("missing") && text.matches("PROBLEM").count() == 1, "{text}");
    assert!(text.contains("not looked at, because of that: boot.img, firmware.squashfs"), "{text}");
    let mut json = inspect(&project.path("a.bundle"), &project.path("others"));
    let json = json.arg("--json").output().unwrap();
    assert_eq!(json.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    for file in json["manifest"]["files"].as_array().unwrap() {
        assert_eq!((&file["checked"], file["problem"].as_str()), (&false.into(), None), "{file}");
    }
    let good = output(inspect(&project.path("a.bundle"), &project.path("keys")).arg("--json"));
    assert_eq!(good.matches("\"checked\": true").count(), 4, "{good}");
}

#[test]
fn key_that_others_may_read() {
    let Some(project) = made() else { return };
    let everyone = fs::Permissions::from_mode(0o644);
    fs::set_permissions(project.path("keys/pivot.key"), everyone).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pivot-image"));
    command.arg("bundle").arg(project.path("out")).arg("--key").arg(project.path("keys/pivot.key"));
    let output = command.arg("-o").arg(project.path("b")).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && text.contains("others may read this secret key"), "{text}");
}
