// Command sbom writes software bills of materials, in CycloneDX's JSON, of what "make
// image" has built: one for each platform. What Go programs are made of they say
// themselves, in the build information that the linker puts into them; every other file is
// listed with its checksum. So a bill is of what is shipped, and not of what go.mod would
// allow.
//
// The same image gives the same bills.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

func main() {
	switch err := run(os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("sbom", flag.ContinueOnError)
	flags.SetOutput(stderr)
	from := flags.String("image", "out/image", "the folder that make image has written")
	to := flags.String("to", "out/sbom", "the folder to write the bills to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	described, err := describe(*from)
	if err != nil {
		return fmt.Errorf("reading the image's description: %w", err)
	}
	if err := os.MkdirAll(*to, 0o755); err != nil { //nolint:gosec // A bill is for all to read.
		return fmt.Errorf("creating folder: %w", err)
	}
	for _, platform := range slices.Sorted(maps.Keys(described.Platforms)) {
		folder := strings.ReplaceAll(platform, "/", "-")
		files, err := read(os.DirFS(filepath.Join(*from, folder)))
		if err != nil {
			return fmt.Errorf("reading files for %q: %w", platform, err)
		}
		path := filepath.Join(*to, folder+".cdx.json")
		if err := write(path, billOf(image{description: described, platform: platform, files: files})); err != nil {
			return fmt.Errorf("writing bill %q: %w", path, err)
		}
		_, _ = fmt.Fprintln(stdout, path)
	}
	return nil
}

// describe reads what e2e/image/imagebuild says of an image that it has built. A
// description without a platform is an error: no bill at all helps nobody.
func describe(folder string) (description, error) {
	var described description
	text, err := fs.ReadFile(os.DirFS(folder), "image.json")
	if err != nil {
		return described, err
	}
	if err := json.Unmarshal(text, &described); err != nil {
		return described, err
	}
	if len(described.Platforms) == 0 {
		return described, errors.New("it names no platform")
	}
	return described, nil
}

func write(path string, bill *cdx.BOM) error {
	var text bytes.Buffer
	// Version 1.6 is what today's scanners read.
	if err := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bill, cdx.SpecVersion1_6); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644) //nolint:gosec // A bill is for all to read.
}
