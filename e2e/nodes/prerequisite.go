//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// requirement is a package of Debian, and what has to be there of it. Whoever has the
// programs from elsewhere needs no package.
type requirement struct {
	debian   string
	programs []string
	// file has to be in one of the folders; none when empty.
	file    string
	folders []string
}

// pluginFolders are where CNI plugins are: Debian's folder, and everybody else's.
var pluginFolders = []string{"/usr/lib/cni", "/opt/cni/bin"}

var requirements = []requirement{
	{debian: "buildah", programs: []string{"buildah"}},
	{debian: "containerd", programs: []string{"containerd", "containerd-shim-runc-v2", "ctr"}},
	{debian: "containernetworking-plugins", file: "bridge", folders: pluginFolders},
	{debian: "iproute2", programs: []string{"ip"}},
	{debian: "iptables", programs: []string{"iptables", "iptables-save", "iptables-restore"}},
	{debian: "prometheus", programs: []string{"prometheus", "promtool"}},
	{debian: "runc", programs: []string{"runc"}},
}

// met says whether everything of a requirement is found below root, which is "/" but in
// tests.
func (r requirement) met(root, path string) bool {
	for _, program := range r.programs {
		if !found(root, filepath.SplitList(path), program) {
			return false
		}
	}
	return r.file == "" || found(root, r.folders, r.file)
}

func found(root string, folders []string, name string) bool {
	for _, folder := range folders {
		info, err := os.Stat(filepath.Join(root, folder, name))
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

func missing(root, path string) []string {
	var packages []string
	for _, r := range requirements {
		if !r.met(root, path) {
			packages = append(packages, r.debian)
		}
	}
	return packages
}

// require sees to it that all requirements are met. It installs what is missing where
// that is allowed and the machine is a Debian, and says what is missing otherwise.
func require(ctx context.Context, path string, mayInstall bool, progress io.Writer) error {
	packages := missing("/", path)
	if len(packages) == 0 {
		return nil
	}
	if apt, err := exec.LookPath("apt-get"); err != nil || !mayInstall {
		return fmt.Errorf("looking for what real nodes need: missing are, by Debian's names, %s (%s=1 installs them on Debian)",
			strings.Join(packages, " "), installVariable)
	} else if err := install(ctx, apt, packages, progress); err != nil {
		return err
	}
	if packages = missing("/", path); len(packages) > 0 {
		return fmt.Errorf("looking for what real nodes need: still missing are %s", strings.Join(packages, " "))
	}
	return nil
}

// install installs Debian packages without letting one of their services start.
func install(ctx context.Context, apt string, packages []string, progress io.Writer) error {
	_, _ = fmt.Fprintf(progress, "nodes: installing %s\n", strings.Join(packages, " "))
	allow, err := keepServicesDown(policyPath)
	if err != nil {
		return err
	}
	defer allow()
	commands := [][]string{
		{"update", "-qq"},
		append([]string{"install", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"}, packages...),
	}
	for _, args := range commands {
		command := exec.CommandContext(ctx, apt, args...)
		command.Env = append(command.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLine(out))
		}
	}
	return nil
}

// policyPath is the program that a package's installation asks whether it may start a
// service: 101 means no; see /usr/share/doc/init-system-helpers/README.policy-rc.d.gz.
const (
	policyPath = "/usr/sbin/policy-rc.d"
	policy     = "#!/bin/sh\n# Ebbtide's end-to-end tests install packages; they start what they need themselves.\nexit 101\n"
)

// keepServicesDown lets no installation start a service until allow is called. A policy
// that is there already is left to decide, unless a killed run of ours left it.
func keepServicesDown(path string) (allow func(), err error) {
	switch content, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.WriteFile(path, []byte(policy), 0o755); err != nil { //nolint:gosec // A program, for all to run.
			return nil, fmt.Errorf("keeping services down: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("reading policy %q: %w", path, err)
	case string(content) != policy:
		return func() {}, nil
	}
	return func() { _ = os.Remove(path) }, nil
}

// loadModules loads what the kernel does not load by itself when it is needed: layers of
// images, and the way of bridged packets through the rules of kube-proxy. Where they are
// built in, or cannot be loaded, nothing is lost by trying.
func loadModules(ctx context.Context) {
	for _, module := range []string{"overlay", "br_netfilter"} {
		_ = exec.CommandContext(ctx, "modprobe", "--quiet", module).Run()
	}
}

func lastLine(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return lines[len(lines)-1]
}
