package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// progressEvery is rare enough for a log file and often enough for a reader who
// wonders whether anything happens.
const progressEvery = 5 * time.Second

// buildFlags are the flags of "go build", but for -o. The version has to be linked
// in: Kubernetes says v0.0.0 of itself otherwise, and client-side version checks
// (Helm's kubeVersion) fail.
func buildFlags(version string) []string {
	const at = "k8s.io/component-base/version."
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	return []string{
		"-trimpath", "-buildvcs=false", "-ldflags",
		fmt.Sprintf("-s -w -X %sgitVersion=v%s -X %sgitMajor=%s -X %sgitMinor=%s", at, version, at, major, at, minor),
	}
}

// build writes the binary of a version to target, complete or not at all.
func (m kubeModule) build(ctx context.Context, version, target string, progress io.Writer) error {
	dir := m.dir
	if version != m.pinned {
		temporary, err := m.moduleFor(ctx, version, progress)
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(temporary) }()
		dir = temporary
	}
	what := fmt.Sprintf("Kubernetes %s (%s)", version, m.program.name)
	_, _ = fmt.Fprintf(progress, "lab: building %s from source, once; this takes some minutes\n", what)
	packages, err := goCommand(ctx, dir, "list", "-deps", "-f", "{{.ImportPath}}", m.target())
	if err != nil {
		return err
	}
	log := newBuildLog("lab: building "+what, bytes.Count(packages, []byte("\n")), progress)

	// The name is fixed, not random: a build that is killed leaves one file at most,
	// which the next one overwrites under the same lock.
	unfinished := target + ".unfinished"
	args := append([]string{"build", "-v"}, buildFlags(version)...)
	command := goTool(ctx, dir, append(args, "-o", unfinished, m.target())...)
	command.Stdout, command.Stderr = log, log
	stop := log.reportEvery(progressEvery)
	err = command.Run()
	stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("go build: %w: %s", err, log.tail())
	}
	if err := os.Rename(unfinished, target); err != nil {
		return fmt.Errorf("moving the binary into the cache: %w", err)
	}
	_, _ = fmt.Fprintf(progress, "lab: built %s in %s\n", what, log.elapsed())
	return nil
}

// target names the program's package as the go command takes it.
func (m kubeModule) target() string { return "./" + m.program.folder }

// moduleFor makes a copy of the module in a temporary folder that requires another version.
func (m kubeModule) moduleFor(ctx context.Context, version string, progress io.Writer) (string, error) {
	_, _ = fmt.Fprintf(progress, "lab: resolving the modules of Kubernetes %s\n", version)
	out, err := goCommand(ctx, m.dir, "mod", "download", "-json", kubernetesModule+"@v"+version)
	if err != nil {
		return "", fmt.Errorf("downloading %q: %w", kubernetesModule, err)
	}
	var downloaded struct{ GoMod string }
	if err := json.Unmarshal(out, &downloaded); err != nil {
		return "", fmt.Errorf("decoding the download of %q: %w", kubernetesModule, err)
	}
	upstream, err := readGoMod(ctx, downloaded.GoMod)
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(filepath.Join(m.dir, m.main()))
	if err != nil {
		return "", fmt.Errorf("reading module of Kubernetes: %w", err)
	}
	dir, err := os.MkdirTemp("", "ebbtide-lab-module-*")
	if err != nil {
		return "", fmt.Errorf("creating a module: %w", err)
	}
	err = os.MkdirAll(filepath.Join(dir, m.program.folder), 0o750)
	for name, content := range map[string][]byte{m.main(): source, "go.mod": []byte(requiring(version, upstream))} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), content, 0o600)
		}
	}
	if err == nil {
		_, err = goCommand(ctx, dir, "mod", "tidy")
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", fmt.Errorf("creating a module for %q: %w", version, err)
	}
	return dir, nil
}

// requiring is a go.mod for a version of Kubernetes, whose own one points at its
// staging modules by relative paths. A module outside has to repeat them by version,
// which is v0.N.P for Kubernetes 1.N.P.
func requiring(version string, upstream goMod) string {
	var mod strings.Builder
	fmt.Fprintf(&mod, "module %s/e2e/kube\n\ngo 1.26.0\n\nrequire %s v%s\n\nreplace (\n", productModule, kubernetesModule, version)
	for _, replaced := range upstream.Replace {
		if strings.HasPrefix(replaced.New.Path, "./staging/") {
			fmt.Fprintf(&mod, "\t%s => %[1]s v0.%s\n", replaced.Old.Path, strings.TrimPrefix(version, "1."))
		}
	}
	mod.WriteString(")\n")
	return mod.String()
}

// buildLog reads the output of "go build -v": a line for each package that is
// compiled, none for those in the build cache.
type buildLog struct {
	what     string
	total    int // the packages of the binary; an upper bound of what is compiled
	progress io.Writer
	started  time.Time

	mu       sync.Mutex
	compiled int
	rest     []byte   // a line not yet ended
	last     []string // what the error message quotes
}

func newBuildLog(what string, total int, progress io.Writer) *buildLog {
	return &buildLog{what: what, total: total, progress: progress, started: time.Now()}
}

// Write takes the build's output. It never fails.
func (b *buildLog) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest = append(b.rest, p...)
	for {
		line, rest, complete := bytes.Cut(b.rest, []byte("\n"))
		if !complete {
			return len(p), nil
		}
		b.rest = rest
		if len(line) > 0 && !bytes.ContainsAny(line, " \t") { // a package; messages hold blanks
			b.compiled++
			continue
		}
		b.last = append(b.last, string(line))
		b.last = b.last[max(0, len(b.last)-10):]
	}
}

func (b *buildLog) reportEvery(period time.Duration) (stop func()) {
	stopped, finished := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				b.report()
			case <-stopped:
				return
			}
		}
	}()
	return func() { close(stopped); <-finished }
}

func (b *buildLog) report() {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = fmt.Fprintf(b.progress, "%s: %s, %d of at most %d packages compiled; linking comes last\n", b.what, b.elapsed(), b.compiled, b.total)
}

func (b *buildLog) elapsed() time.Duration { return time.Since(b.started).Round(time.Second) }

func (b *buildLog) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.last, " | ")
}
