//go:build linux

package nodes

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// The images that every node has.
const (
	// WorkloadImage is the program e2e/nodes/workload.
	WorkloadImage = "ebbtide.test/workload:e2e"
	corednsImage  = "ebbtide.test/coredns:e2e"
	pauseImage    = "ebbtide.test/pause:e2e"
)

// module is the product's.
const module = "github.com/ebbtide/ebbtide"

// prepare builds all that nodes run into the stage's folder. It is the last that may
// use the network: what it leaves needs none.
func prepare(ctx context.Context, s *stage, images []Image, progress io.Writer) error {
	if _, err := lab.Binary(ctx, "", progress); err != nil {
		return err
	}
	kube, err := lab.NodeBinary(ctx, "", progress)
	if err != nil {
		return err
	}
	s.Kube = filepath.Dir(kube)
	for _, folder := range []string{s.programs(), s.images(), s.temporary(), s.path("build", "images"), s.path("buildah")} {
		if err := os.MkdirAll(folder, 0o750); err != nil {
			return fmt.Errorf("creating folder: %w", err)
		}
	}
	_, _ = fmt.Fprintln(progress, "nodes: building programs; CoreDNS takes minutes the first time")
	builds := []struct {
		dir, target string
		packages    []string
	}{
		{"", s.programs(), []string{module + "/e2e/nodes/machine/init", module + "/agent/aws/awstest/fakeimds"}},
		{"", s.path("build"), []string{module + "/e2e/nodes/pause", module + "/e2e/nodes/workload"}},
		{"coredns", s.path("build"), []string{"."}},
	}
	for _, b := range builds {
		if err := goBuild(ctx, b.dir, b.target, b.packages...); err != nil {
			return err
		}
	}
	for name, program := range map[string]string{pauseImage: "pause", WorkloadImage: "workload", corednsImage: "coredns"} {
		image, err := scratch(name, s.path("build", program), s.path("build", "images"))
		if err != nil {
			return err
		}
		images = append(images, image)
	}
	b := builder{dir: s.path("buildah")}
	for _, image := range images {
		if err := b.build(ctx, image, s.images(), progress); err != nil {
			return err
		}
	}
	// The storage holds every image a second time.
	if err := os.RemoveAll(b.dir); err != nil {
		return fmt.Errorf("removing buildah's storage: %w", err)
	}
	return nil
}

// goBuild builds static programs into a folder, each named after its package's. A relative
// dir is below this package's folder.
func goBuild(ctx context.Context, dir, target string, packages ...string) error {
	if dir != "" {
		root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			return fmt.Errorf("finding module %q: %w", module, err)
		}
		dir = filepath.Join(lastLine(root), "e2e", "nodes", dir)
	}
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", target + "/"}, packages...)
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	command.Env = append(command.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	// An interrupted go command takes its compilers along; a killed one leaves them.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building %q: %w: %s", packages, err, lastLine(out))
	}
	return nil
}
