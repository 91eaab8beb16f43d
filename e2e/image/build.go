package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec" //nolint:depguard // It starts buildah and go, and none of our programs.
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Format is how an archive holds an image.
type Format string

const (
	// OCI archives hold all platforms, compressed: what a registry would hold. [Read]
	// reads them.
	OCI Format = "oci-archive"
	// Docker archives hold one platform, uncompressed. "docker load" and "ctr images
	// import" take them, and call the image by its name.
	Docker Format = "docker-archive"
)

// LocalToolchain stands for the Go toolchain of this machine where the Dockerfile wants
// an image to compile in. It needs no registry, and compiles with this machine's
// caches. Such an image trusts the CAs that this machine trusts: it is not for others.
const LocalToolchain = "local"

// Options say what to build. All fields but the ones that say so are required.
type Options struct {
	// Source is the repository's root.
	Source string
	// Name is what the image is called, with registry and tag.
	Name string
	// Version is what the programs say to --version, and Revision the commit that they
	// were built from.
	Version, Revision string
	// Created is the age of the image and of every file in it, in whole seconds. The
	// same source with the same options gives the same digest.
	Created time.Time
	// Platforms are operating systems with architectures, "linux/arm64"; nil is linux on
	// this machine's architecture. A Docker archive takes one.
	Platforms []string
	// Builder is the image to compile in, or [LocalToolchain]; empty is the one that the
	// Dockerfile names, which is pulled.
	Builder string
	// Archive is the file to write, and Format its format. A file that is there is
	// replaced.
	Archive string
	Format  Format
	// Progress is told what buildah says; nil is nobody.
	Progress io.Writer
}

// build is one build in progress: its options, and a folder with all that buildah writes.
type build struct {
	Options
	dir string
}

// Build builds the image. It takes five minutes when nothing is cached, and seconds when
// all is.
func Build(ctx context.Context, options Options) (err error) {
	if len(options.Platforms) == 0 {
		options.Platforms = []string{"linux/" + runtime.GOARCH}
	}
	if options.Progress == nil {
		options.Progress = io.Discard
	}
	switch {
	case options.Format != OCI && options.Format != Docker:
		return fmt.Errorf("building image %q: there is no format %q", options.Name, options.Format)
	case options.Format == Docker && len(options.Platforms) > 1:
		return fmt.Errorf("building image %q: a Docker archive holds one platform, not %q", options.Name, options.Platforms)
	}
	if _, err := exec.LookPath("buildah"); err != nil {
		return fmt.Errorf("looking for buildah (Debian's package has the same name): %w", err)
	}
	dir, err := os.MkdirTemp("", "ebbtide-image-*")
	if err != nil {
		return fmt.Errorf("creating a folder for buildah: %w", err)
	}
	defer func() {
		mounts, kept := os.ReadFile("/proc/self/mountinfo")
		if kept == nil {
			kept = remove(dir, string(mounts))
		}
		err = errors.Join(err, kept)
	}()
	b := build{Options: options, dir: dir}
	if err := b.build(ctx); err != nil {
		return fmt.Errorf("building image %q: %w", options.Name, err)
	}
	if err := b.write(ctx); err != nil {
		return fmt.Errorf("writing image %q: %w", options.Name, err)
	}
	return nil
}

func (b build) build(ctx context.Context) error {
	args := []string{
		"build", "--isolation", "chroot", "--file", filepath.Join(b.Source, "Dockerfile"),
		"--timestamp", strconv.FormatInt(b.Created.Unix(), 10),
		// The version of buildah is no property of what it builds.
		"--identity-label=false",
		"--build-arg", "VERSION=" + b.Version, "--build-arg", "REVISION=" + b.Revision,
		// Docker and newer buildahs define it; Debian's 1.28 wants to be told.
		"--build-arg", "BUILDPLATFORM=linux/" + runtime.GOARCH,
	}
	switch b.Builder {
	case "":
	case LocalToolchain:
		toolchain, err := b.toolchain(ctx)
		if err != nil {
			return err
		}
		args = append(args, toolchain...)
	default:
		args = append(args, "--build-arg", "BUILDER="+b.Builder)
	}
	as := "--tag"
	if b.Format == OCI {
		as = "--manifest"
	}
	// One by one: of several, buildah takes a random one first, and the list of platforms
	// has a digest too.
	for _, platform := range b.Platforms {
		if err := b.buildah(ctx, slices.Concat(args, []string{as, b.Name, "--platform", platform, b.Source})...); err != nil {
			return err
		}
	}
	return nil
}

// write puts the image into a file beside the archive first, so that there is never half
// an archive.
func (b build) write(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(b.Archive), 0o755); err != nil { //nolint:gosec // What was built is no secret.
		return fmt.Errorf("creating folder: %w", err)
	}
	half := b.Archive + ".half"
	if err := os.Remove(half); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("removing an older half: %w", err)
	}
	push := []string{"push", "--quiet"}
	if b.Format == OCI {
		push = []string{"manifest", "push", "--quiet", "--all"}
	}
	err := b.buildah(ctx, append(push, b.Name, string(b.Format)+":"+half+":"+b.Name)...)
	if err == nil {
		err = os.Rename(half, b.Archive)
	}
	if err != nil {
		_ = os.Remove(half)
	}
	return err
}

// buildah runs one of its commands on a storage that goes with the build's folder.
// Storage "vfs" and isolation "chroot" need neither an overlay nor cgroups, so it works
// where the machine is itself a container.
func (b build) buildah(ctx context.Context, args ...string) error {
	storage := []string{
		"--root", filepath.Join(b.dir, "storage"), "--runroot", filepath.Join(b.dir, "run"), "--storage-driver", "vfs",
	}
	command := exec.CommandContext(ctx, "buildah", append(storage, args...)...)
	command.Env = append(command.Environ(), "TMPDIR="+b.dir)
	return run(command, b.Progress, b.Progress)
}

// run runs a command and says, if it did not end well, what it said last on stderr.
func run(command *exec.Cmd, stdout, stderr io.Writer) error {
	var complaint bytes.Buffer
	command.Stdout, command.Stderr = stdout, io.MultiWriter(&complaint, stderr)
	// Asked to stop, buildah and go stop what they started; killed, they leave it.
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	if err := command.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(complaint.String()), "\n")
		return fmt.Errorf("running %q: %w: %s", filepath.Base(command.Path), err, lines[len(lines)-1])
	}
	return nil
}

// remove removes the folder of a build, unless something is still mounted in it: to go on
// would be to empty what is mounted, such as the machine's Go.
func remove(dir, mountinfo string) error {
	// Mounts are listed without links.
	target, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("finding folder %q: %w", dir, err)
	}
	if mount := mountedBelow(target, mountinfo); mount != "" {
		return fmt.Errorf("removing folder %q: %q is still mounted", dir, mount)
	}
	if err := os.RemoveAll(target); err != nil {
		return fmt.Errorf("removing folder %q: %w", dir, err)
	}
	return nil
}

// unescape reads a path as mountinfo writes it; see proc(5).
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// mountedBelow returns the first mount in a folder, or nothing. The fifth field of
// mountinfo is where something is mounted.
func mountedBelow(dir, mountinfo string) string {
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if mount := unescape.Replace(fields[4]); strings.HasPrefix(mount+"/", dir+"/") {
			return mount
		}
	}
	return ""
}
