// Command imagebuild builds Ebbtide's image from the repository that it is run in, and
// says how large it is. "make image" runs it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ebbtide/ebbtide/e2e/image"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "imagebuild:", err)
		stop()
		os.Exit(1) //nolint:gocritic // It has stopped.
	}
}

// description is what image.json says, for whoever reads no archives: tools/sbom does.
type description struct {
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Revision string    `json:"revision"`
	Created  time.Time `json:"created"`
	Digest   string    `json:"digest"`
	// Platforms are the digests of the images, by platform.
	Platforms map[string]string `json:"platforms"`
}

// folder is what is written, and emptied before. It is no flag: a mistaken one would be
// emptied too.
const folder = "out/image"

// run builds the image into the folder: the archive image.tar, and beside it the files of
// each platform and image.json.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("imagebuild", flag.ContinueOnError)
	flags.SetOutput(stderr)
	name := flags.String("name", "ghcr.io/ebbtide/ebbtide", "what the image is called, without its tag, which is the version")
	version := flags.String("version", "unknown", "what the programs say to --version")
	revision := flags.String("revision", "unknown", "the commit that they are built from")
	created := flags.Int64("created", 0, "the image's age, in seconds since 1970 (SOURCE_DATE_EPOCH)")
	platforms := flags.String("platforms", "linux/amd64,linux/arm64", "what to build for, separated by commas")
	builder := flags.String("builder", "", "the image to compile in; "+image.LocalToolchain+" is this machine's Go; empty is what the Dockerfile says")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.RemoveAll(folder); err != nil {
		return fmt.Errorf("emptying folder %q: %w", folder, err)
	}
	path := filepath.Join(folder, "image.tar")
	err := image.Build(ctx, image.Options{
		Source: ".", Name: *name + ":" + tag(*version), Version: *version, Revision: *revision, Created: time.Unix(*created, 0),
		Platforms: strings.Split(*platforms, ","), Builder: *builder, Archive: path, Format: image.OCI, Progress: stderr,
	})
	if err != nil {
		return err
	}
	archive, err := image.Read(path)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "%s: version %s, digest %s\n", path, *version, archive.Digest)
	described := description{
		Name: *name, Version: *version, Revision: *revision, Created: time.Unix(*created, 0).UTC(),
		Digest: archive.Digest, Platforms: map[string]string{},
	}
	for _, i := range archive.Images {
		files := filepath.Join(folder, strings.ReplaceAll(i.Platform, "/", "-"))
		if err := os.Mkdir(files, 0o755); err != nil { //nolint:gosec // What was built is no secret.
			return fmt.Errorf("creating folder: %w", err)
		}
		if err := archive.Extract(i, files); err != nil {
			return err
		}
		described.Platforms[i.Platform] = i.Digest
		_, _ = fmt.Fprintf(stdout, "%s: %.1f MB compressed\n", i.Platform, float64(i.Compressed)/1e6)
	}
	text, err := json.MarshalIndent(described, "", "  ")
	if err != nil {
		return fmt.Errorf("describing the image: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "image.json"), append(text, '\n'), 0o644); err != nil { //nolint:gosec // No secret.
		return fmt.Errorf("describing the image: %w", err)
	}
	return nil
}

// tag makes a tag of a version, which may hold a "+" where a tag may not; Helm does the
// same.
func tag(version string) string { return strings.ReplaceAll(version, "+", "_") }
