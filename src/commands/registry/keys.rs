//! Keys that sign what is published: made, read, asked for.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::connect::act_as;
use crate::caller::Caller;
use crate::cli::KeygenArguments;
use crate::commands::Context;
use crate::error::Error;
use crate::registry::signing::{PublicKey, SigningKey};

/// `registry keygen`: nothing that exists is replaced.
pub(super) fn generate(context: &Context, arguments: &KeygenArguments) -> Result<(), Error> {
    act_as(&Caller::detect())?;
    let (key, text) = SigningKey::generate().map_err(|message| Error::Environment { message, hint: None })?;
    let (private, public) = (&arguments.file, beside(&arguments.file));
    write(private, 0o600, &text)?;
    if let Err(error) = write(&public, 0o644, &key.public().to_pem()) {
        let _ = fs::remove_file(private);
        return Err(error);
    }
    let (line, id) = (key.public().to_line(), key.public().id());
    if context.json {
        return context.output.json(&json!({
            "private": private, "public": public, "key": line, "id": id,
        }));
    }
    context
        .output
        .line(&format!("{}\n{}", private.display(), public.display()));
    context
        .output
        .line(&format!("public key  {line}\nkey id      {id}"));
    Ok(())
}

fn beside(private: &Path) -> PathBuf {
    let mut name = private.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| Error::Environment {
        message: format!("{} cannot be written: {error}", path.display()),
        hint: (error.kind() == io::ErrorKind::AlreadyExists)
            .then(|| "choose another name: a key that is gone cannot be made again".to_owned()),
    })
}

/// The private key in a file.
///
/// # Errors
/// It cannot be read, or is none.
pub(super) fn signing(file: &Path) -> Result<SigningKey, Error> {
    let wrong = |why: String| Error::Usage {
        message: format!("{} cannot sign: {why}", file.display()),
        hint: Some("pactown registry keygen FILE makes a key".to_owned()),
    };
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    SigningKey::from_pem(&text).map_err(wrong)
}

/// The public key in a file, or the argument itself.
///
/// # Errors
/// It is neither.
pub(super) fn required(argument: &str) -> Result<PublicKey, Error> {
    let wrong = |why: String| Error::Usage {
        message: format!("--require-signature {argument}: {why}"),
        hint: Some("name the file that ends in .pub, or the line that registry keygen printed".to_owned()),
    };
    match fs::read_to_string(argument) {
        Ok(text) => PublicKey::parse(&text).map_err(wrong),
        Err(error) => PublicKey::parse(argument).map_err(|why| wrong(format!("{why}, and no file: {error}"))),
    }
}
