//go:build linux

package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// shared are the folders of programs and their settings, which every machine has from
// the one it runs on, read only. What is not among them is the machine's own: it has
// a /var, a /run and a /tmp that hold nothing of anybody else's, so that nothing it
// leaves there (sockets, CNI's namespaces, pods' logs) is left on the outer machine.
var shared = []string{"bin", "etc", "lib", "lib32", "lib64", "libx32", "opt", "sbin", "usr"}

// enterRoot makes root the file system of this process and of all that it starts.
func enterRoot(root string, binds map[string]string) error {
	// Before anything else, or what is mounted here would be mounted outside as well.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	// The root of a file system has to be a mount.
	if err := bind(root, root); err != nil {
		return err
	}
	if err := bindShared(root); err != nil {
		return err
	}
	for inside, outside := range binds {
		if err := bindReadOnly(outside, filepath.Join(root, inside)); err != nil {
			return err
		}
	}
	for _, folder := range []string{"root", "run", "srv", "var/lib", "var/log"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil { //nolint:gosec // Like those of any machine.
			return fmt.Errorf("creating folder: %w", err)
		}
	}
	if err := os.Symlink("/run", filepath.Join(root, "var/run")); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("linking folder: %w", err)
	}
	tmp := filepath.Join(root, "tmp")
	if err := errors.Join(os.MkdirAll(tmp, 0o700), os.Chmod(tmp, os.ModeSticky|0o777)); err != nil {
		return fmt.Errorf("creating folder: %w", err)
	}
	if err := mountKernel(root); err != nil {
		return err
	}
	return pivot(root)
}

func bindShared(root string) error {
	for _, name := range shared {
		outside, inside := filepath.Join("/", name), filepath.Join(root, name)
		info, err := os.Lstat(outside)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("looking for folder: %w", err)
		case info.Mode()&os.ModeSymlink == 0:
			if err := bindReadOnly(outside, inside); err != nil {
				return err
			}
			continue
		}
		target, err := os.Readlink(outside) // /bin is /usr/bin on today's systems
		if err == nil {
			err = os.Symlink(target, inside)
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("linking folder: %w", err)
		}
	}
	return nil
}

// mountKernel mounts what the kernel shows of this machine's namespaces: its processes
// and network devices. The cgroups are the outer machine's: they have no second instance.
func mountKernel(root string) error {
	path := func(name string) string { return filepath.Join(root, name) }
	for _, folder := range []string{"proc", "sys", "dev"} {
		if err := os.MkdirAll(path(folder), 0o755); err != nil { //nolint:gosec // Like those of any machine.
			return fmt.Errorf("creating folder: %w", err)
		}
	}
	const flags = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	if err := syscall.Mount("proc", path("proc"), "proc", flags, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := syscall.Mount("sysfs", path("sys"), "sysfs", flags, ""); err != nil {
		return fmt.Errorf("mounting /sys: %w", err)
	}
	if err := bind("/sys/fs/cgroup", path("sys/fs/cgroup")); err != nil {
		return err
	}
	return bind("/dev", path("dev"))
}

func pivot(root string) error {
	old := filepath.Join(root, ".outside")
	if err := os.MkdirAll(old, 0o700); err != nil {
		return fmt.Errorf("creating folder: %w", err)
	}
	if err := syscall.PivotRoot(root, old); err != nil {
		return fmt.Errorf("changing the root to %q: %w", root, err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("entering the new root: %w", err)
	}
	if err := syscall.Unmount("/.outside", syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	if err := os.Remove("/.outside"); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	return nil
}

func bind(outside, inside string) error {
	if err := os.MkdirAll(inside, 0o755); err != nil { //nolint:gosec // Like those of any machine.
		return fmt.Errorf("creating folder: %w", err)
	}
	if err := syscall.Mount(outside, inside, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("binding %q to %q: %w", outside, inside, err)
	}
	return nil
}

func bindReadOnly(outside, inside string) error {
	if err := bind(outside, inside); err != nil {
		return err
	}
	// A bind takes no flags but by a second call, which must keep those it has.
	kept, err := flagsOf(inside)
	if err != nil {
		return err
	}
	flags := kept | syscall.MS_BIND | syscall.MS_REMOUNT | syscall.MS_RDONLY
	if err := syscall.Mount("", inside, "", flags, ""); err != nil {
		return fmt.Errorf("making %q read only: %w", inside, err)
	}
	return nil
}

// flagsOf returns the flags of the mount at a path, of those that may be locked.
func flagsOf(path string) (uintptr, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(path, &stat); err != nil {
		return 0, fmt.Errorf("reading the mount at %q: %w", path, err)
	}
	const locked = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	return uintptr(stat.Flags & locked), nil
}

// Outside returns where a path of the machine is found by those who started it, or an
// error if it is none of those that stay with its disk.
func (c Config) Outside(path string) (string, error) {
	clean := filepath.Clean(path)
	first, _, _ := strings.Cut(strings.TrimPrefix(clean, "/"), "/")
	if !slices.Contains([]string{"root", "run", "srv", "tmp", "var"}, first) {
		return "", fmt.Errorf("finding %q: only /root, /run, /srv, /tmp and /var are on the machine's disk", path)
	}
	return filepath.Join(c.Root, clean), nil
}
