//go:build linux

package nodes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// groupRoot is where control groups are mounted, as every distribution does it.
const (
	groupRoot = "/sys/fs/cgroup"
	// unifiedBeside is the second version beside the first one's hierarchies: without
	// controllers.
	unifiedBeside = "unified"
)

// hierarchies returns the folders that are roots of control groups: one with the second
// version of the kernel's interface, one for each controller with the first.
func hierarchies() (roots []string, unified bool, err error) {
	if _, err := os.Stat(filepath.Join(groupRoot, "cgroup.controllers")); err == nil {
		return []string{groupRoot}, true, nil
	}
	entries, err := os.ReadDir(groupRoot)
	if err != nil {
		return nil, false, fmt.Errorf("reading control groups: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() && entry.Name() != unifiedBeside {
			roots = append(roots, filepath.Join(groupRoot, entry.Name()))
		}
	}
	if len(roots) == 0 {
		return nil, false, fmt.Errorf("reading control groups: none is mounted below %q", groupRoot)
	}
	return roots, false, nil
}

// createGroup makes the control group that a kubelet puts its pods below; the kubelet
// insists that it exists. name is a path, whose parents are made too.
func createGroup(name string) error {
	roots, unified, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		parent := root
		for element := range strings.SplitSeq(name, "/") {
			group := filepath.Join(parent, element)
			if unified {
				err = delegate(parent)
			}
			if err == nil {
				err = os.MkdirAll(group, 0o755) //nolint:gosec // The kernel sets the mode.
			}
			if err == nil && !unified {
				err = inheritSets(parent, group)
			}
			if err != nil {
				return fmt.Errorf("creating control group %q: %w", name, err)
			}
			parent = group
		}
	}
	return nil
}

// delegated are the controllers that a kubelet wants to find in its group.
var delegated = []string{"cpu", "cpuset", "hugetlb", "io", "memory", "pids"}

// delegate lets the children of a group have those controllers that the group has.
func delegate(group string) error {
	there, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return err
	}
	var enable []string
	for controller := range strings.FieldsSeq(string(there)) {
		if slices.Contains(delegated, controller) {
			enable = append(enable, "+"+controller)
		}
	}
	return os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte(strings.Join(enable, " ")), 0)
}

// inheritSets gives a group its parent's processors and memory nodes. With the first
// version a new group has none, and nothing can run in it.
func inheritSets(parent, group string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		set, err := os.ReadFile(filepath.Join(parent, file))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // of another controller
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(group, file), set, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removeWithin is how long the kernel may take to let go of a group whose processes are
// gone.
const removeWithin = 15 * time.Second

// removeGroup removes a control group and all below it.
func removeGroup(name string) error {
	roots, unified, err := hierarchies()
	if err != nil {
		return err
	}
	if !unified {
		// Container runtimes make groups there too.
		roots = append(roots, filepath.Join(groupRoot, unifiedBeside))
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(removeWithin)
	for {
		var errs []error
		for _, root := range roots {
			errs = append(errs, removeTree(filepath.Join(root, name)))
		}
		err := errors.Join(errs...)
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-deadline:
			return fmt.Errorf("removing control group %q: %w", name, err)
		}
	}
}

func removeTree(group string) error {
	entries, err := os.ReadDir(group)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := removeTree(filepath.Join(group, entry.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
