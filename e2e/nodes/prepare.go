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

// Preparation is what a package's tests want to be built before they run, beside what
// every cluster needs.
type Preparation struct {
	// Images and Products are those that every node has from the start.
	Images   []Image
	Products []Product
	// Programs are run by [Cluster.Run] or on a machine of [Cluster.StartMachine], which
	// finds them in /srv/programs.
	Programs []Program
}

// Program is a Go program to build: static, and named after the last element of its
// package's path.
type Program struct {
	// Module is the folder of the module that knows the package's version, from the root
	// of the product: "tools". Empty is the product's own.
	Module string
	// Package is the path of package main: "helm.sh/helm/v4/cmd/helm".
	Package string
}

// prepare builds all that nodes run into the stage's folder. It is the last that may
// use the network: what it leaves needs none.
func prepare(ctx context.Context, s *stage, wanted Preparation, progress io.Writer) error {
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
	for _, p := range append(wanted.Programs, Program{Package: module + "/e2e/nodes/machine/init"}, Program{Package: module + "/agent/aws/awstest/fakeimds"}) {
		if err := p.build(ctx, s.programs()); err != nil {
			return err
		}
	}
	for _, p := range []Program{
		{Package: module + "/e2e/nodes/pause"},
		{Package: module + "/e2e/nodes/workload"},
		{Module: "e2e/nodes/coredns", Package: module + "/e2e/nodes/coredns"},
	} {
		if err := p.build(ctx, s.path("build")); err != nil {
			return err
		}
	}
	for _, p := range wanted.Products {
		if err := p.build(ctx, s.images(), progress); err != nil {
			return err
		}
	}
	return buildImages(ctx, s, wanted.Images, progress)
}

func buildImages(ctx context.Context, s *stage, images []Image, progress io.Writer) error {
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

// build builds the program into a folder.
func (p Program) build(ctx context.Context, folder string) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", folder+"/", p.Package)
	command.Dir = filepath.Join(root, p.Module)
	command.Env = append(command.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	// An interrupted go command takes its compilers along; a killed one leaves them.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building %q: %w: %s", p.Package, err, lastLine(out))
	}
	return nil
}

// moduleRoot is the folder of the product's module.
func moduleRoot(ctx context.Context) (string, error) {
	folder, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("finding module %q: %w", module, err)
	}
	return lastLine(folder), nil
}
