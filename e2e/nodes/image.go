//go:build linux

package nodes

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Image is a container image to build before the tests run; every node has it then.
type Image struct {
	// Name is what pods call it, with registry and tag: "ebbtide.test/workload:e2e".
	// No registry is asked, so pods need no imagePullPolicy but must not say Always.
	Name string
	// Dockerfile is the path of the file, and Context the folder that it copies from. Both
	// are as seen from the package's own folder, where go test runs.
	Dockerfile, Context string
	// Args are the file's build arguments.
	Args map[string]string
}

// archiveName names the file that holds an image.
func archiveName(image string) string {
	return strings.NewReplacer("/", "-", ":", "-").Replace(image) + ".tar"
}

// builder runs buildah with a storage of its own, which goes with its folder.
type builder struct {
	dir string
}

// build builds an image and writes it to a folder as an archive that containerd takes.
// Nothing is pulled unless the Dockerfile starts from another image.
func (b builder) build(ctx context.Context, image Image, folder string, progress io.Writer) error {
	_, _ = fmt.Fprintf(progress, "nodes: building image %s\n", image.Name)
	args := []string{"build", "--isolation", "chroot", "--tag", image.Name, "--file", image.Dockerfile}
	for _, name := range slices.Sorted(maps.Keys(image.Args)) {
		args = append(args, "--build-arg", name+"="+image.Args[name])
	}
	if err := b.run(ctx, append(args, image.Context)...); err != nil {
		return fmt.Errorf("building image %q: %w", image.Name, err)
	}
	archive := filepath.Join(folder, archiveName(image.Name))
	if err := b.run(ctx, "push", "--quiet", image.Name, "docker-archive:"+archive+":"+image.Name); err != nil {
		return fmt.Errorf("writing image %q: %w", image.Name, err)
	}
	return nil
}

// run runs a command of buildah. Storage vfs and isolation chroot work without a kernel's
// overlay and where the machine is itself a container.
func (b builder) run(ctx context.Context, args ...string) error {
	global := []string{
		"--root", filepath.Join(b.dir, "storage"), "--runroot", filepath.Join(b.dir, "run"), "--storage-driver", "vfs",
	}
	command := exec.CommandContext(ctx, "buildah", append(global, args...)...)
	command.Env = append(command.Environ(), "TMPDIR="+b.dir)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("buildah %s: %w: %s", args[0], err, lastLine(out))
	}
	return nil
}

// scratch is an image with one static program and nothing else.
func scratch(name, program, folder string) (Image, error) {
	base := filepath.Base(program)
	dockerfile := filepath.Join(folder, base+".Dockerfile")
	content := fmt.Sprintf("FROM scratch\nCOPY %s /%[1]s\nENTRYPOINT [\"/%[1]s\"]\n", base)
	if err := os.WriteFile(dockerfile, []byte(content), 0o600); err != nil {
		return Image{}, fmt.Errorf("writing Dockerfile: %w", err)
	}
	return Image{Name: name, Dockerfile: dockerfile, Context: filepath.Dir(program)}, nil
}
