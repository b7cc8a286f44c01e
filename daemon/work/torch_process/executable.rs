//! Where the child's executable is, and how it is called.

use std::env;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

use forecastd_config::{Torch, TorchStart};

use super::TorchError;

/// The executable's name, beside the daemon's own or on the PATH.
const NAME: &str = "forecastd-torch";

/// What the child's allocator is told, unless the daemon's own environment says something: a network asks for the same
/// large pieces of memory at every step, and to have them from the kernel each time, page by page, took up to a fifth of
/// its time. So pieces up to 32 MiB come from memory that is kept, as far as 128 MiB of it lie idle in each of the
/// allocator's arenas, and huge pages are asked for (by glibc from 2.35 on; other allocators are told nothing).
pub const ALLOCATOR: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=134217728",
);

/// The command that starts a child. Looked for anew each time: it may have been installed since.
pub(in crate::work) fn command(torch: &Torch, threads: NonZeroUsize) -> Result<Command, TorchError> {
    if torch.start == TorchStart::Never {
        return Err(TorchError::Never);
    }
    let mut command = Command::new(find(torch.executable.as_deref())?);
    command.args(["--threads", &threads.to_string()]);
    let (name, value) = ALLOCATOR;
    if env::var_os(name).is_none() {
        command.env(name, value);
    }
    Ok(command)
}

fn find(configured: Option<&Path>) -> Result<PathBuf, TorchError> {
    let beside = env::current_exe().ok().map(|daemon| daemon.with_file_name(NAME));
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join(NAME));
    let places: Vec<PathBuf> = match configured {
        Some(executable) => vec![executable.to_owned()],
        None => beside.into_iter().chain(on_path).collect(),
    };
    let found = places.iter().find(|place| place.is_file());
    found.cloned().ok_or_else(|| TorchError::Missing {
        sought: match configured {
            Some(executable) => executable.display().to_string(),
            None => format!("{NAME} beside the daemon's own executable or on the PATH"),
        },
    })
}

#[cfg(test)]
mod tests {
    use forecastd_config::TorchFit;

    use super::*;

    fn torch(start: TorchStart, executable: &str) -> Torch {
        let executable = Some(executable.into());
        let fit = TorchFit::Never;
        Torch { start, executable, fit }
    }

    #[test]
    fn the_named_executable_is_called_with_its_threads() {
        let two = NonZeroUsize::new(2).expect("two");
        let command = command(&torch(TorchStart::OnDemand, "/bin/sh"), two).expect("it is there");
        assert_eq!(command.get_program(), "/bin/sh");
        assert!(command.get_args().eq(["--threads", "2"]));
        let (name, value) = ALLOCATOR;
        let own = env::var_os(name)
            .is_none()
            .then_some((name.as_ref(), Some(value.as_ref())));
        assert!(command.get_envs().eq(own), "whoever sets it for the daemon is heard");
    }

    #[test]
    fn an_absent_executable_and_an_unwanted_child_are_told_apart() {
        let absent = command(
            &torch(TorchStart::Always, "/nowhere/forecastd-torch"),
            NonZeroUsize::MIN,
        );
        let said = absent.expect_err("it is not there").to_string();
        assert!(
            said.contains("/nowhere/forecastd-torch") && said.contains("`torch.executable`"),
            "{said}"
        );
        let unwanted = command(&torch(TorchStart::Never, "/bin/sh"), NonZeroUsize::MIN);
        assert_eq!(unwanted.expect_err("it is not wanted"), TorchError::Never);
    }
}
