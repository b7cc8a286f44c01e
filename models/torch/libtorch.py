"""Unpacks libtorch from Python wheels into a folder fit to be LIBTORCH. Called by `make libtorch`.

    python3 models/torch/libtorch.py FOLDER

The wheels are only archives here: nothing of Python's is kept, and no virtual environment is made. Kept are the
headers, against which torch-sys compiles, and the libraries that the CPU needs. libtorch_cuda.so and its company are
left out, several gigabytes with all that they want in turn: an executable linked without them runs on every machine,
and on one with a GPU takes CUDA from that machine's own libtorch when it starts.
"""

import pathlib
import platform
import shutil
import subprocess
import sys
import zipfile

VERSION = "2.11.0"  # the only one that tch 0.24 takes

# libtorch_cpu.so names the CUDA runtime and its profiler as needed libraries, also on machines without a GPU.
WHEELS = [f"torch=={VERSION}", "nvidia-cuda-runtime==13.0.*", "nvidia-cuda-cupti==13.0.*"]

NOT_KEPT = ("libtorch_cuda", "libtorch_nvshmem", "libtorch_python", "libtorch_global_deps", "libc10_cuda",
            "libcaffe2_nvrtc", "libshm")

# The oldest and the newest glibc that these wheels are built for; older versions of pip want each one named.
GLIBC = range(17, 29)

ATTEMPTS = 3


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    stamp = folder / "complete"
    recipe = f"{' '.join(WHEELS)} for {platform.machine()}\n"
    if stamp.exists() and stamp.read_text() == recipe:
        return
    stamp.unlink(missing_ok=True)
    download = folder / "download"
    wheels = [fetch(wheel, download) for wheel in WHEELS]
    for part in ("lib", "include"):
        shutil.rmtree(folder / part, ignore_errors=True)
    for wheel in wheels:
        unpack(wheel, folder)
    (folder / "build-version").write_text(VERSION + "\n")  # torch-sys compares it with its own
    shutil.rmtree(download)
    stamp.write_text(recipe)  # last: an interrupted run is done again, without fetching whole wheels a second time
    print(f"libtorch {VERSION} lies in {folder}")


def fetch(requirement: str, download: pathlib.Path) -> pathlib.Path:
    """Has pip fetch one wheel, unless it is there; returns where it lies."""
    name = requirement.split("==")[0].replace("-", "_")
    tags = [f"--platform=manylinux_2_{glibc}_{machine()}" for glibc in GLIBC]
    command = [sys.executable, "-m", "pip", "download", "--dest", download, "--no-deps", "--no-cache-dir",
               "--disable-pip-version-check", "--only-binary=:all:", "--python-version=3.11", "--implementation=cp",
               *tags, requirement]
    for attempt in range(1, ATTEMPTS + 1):
        if subprocess.run(command).returncode == 0:
            return next(download.glob(f"{name}-*.whl"))
        print(f"fetching {requirement} failed, attempt {attempt} of {ATTEMPTS}", file=sys.stderr)
    sys.exit(f"cannot fetch {requirement}. Needed are pip (Debian: apt install python3-pip) and a way to the Python "
             "package index; or set LIBTORCH to a libtorch 2.11 that is there already.")


def machine() -> str:
    """This machine, as wheels name it."""
    if platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64"):
        return platform.machine()
    sys.exit(f"no wheel of libtorch {VERSION} is known to serve {platform.system()} on {platform.machine()}: set "
             "LIBTORCH to one of your own, or build without forecastd-torch (`cargo build`).")


def unpack(wheel: pathlib.Path, folder: pathlib.Path) -> None:
    """Unpacks what is worth keeping of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            place = kept_as(pathlib.PurePosixPath(member.filename))
            if place and not member.is_dir():
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)


def kept_as(path: pathlib.PurePosixPath):
    """Where a wheel's file goes, if it is kept."""
    if path.parts[:2] == ("torch", "include"):
        return path.relative_to("torch")
    if path.parts[:2] == ("torch", "lib") and ".so" in path.name and not path.name.startswith(NOT_KEPT):
        return pathlib.PurePosixPath("lib", path.name)
    if path.name.startswith(("libcudart.so", "libcupti.so")):
        return pathlib.PurePosixPath("lib", path.name)
    if path.parts[0].endswith(".dist-info") and path.name.lower().startswith(("license", "notice")):
        return pathlib.PurePosixPath("licenses", path.parts[0].split("-")[0], path.name)
    return None


if __name__ == "__main__":
    main()
