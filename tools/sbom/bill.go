package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// description is what is known of an image beside its files: what it is called, what its
// programs say to --version, its age, and the digest for each platform.
type description struct {
	Name, Version string
	Created       time.Time
	Platforms     map[string]string
}

// image is what a bill is of: an image for one platform.
type image struct {
	description
	platform string
	files    []file
}

// file is one file of an image.
type file struct {
	path string // from the image's root, without the slash
	sum  string // SHA-256, in hexadecimal digits
	// program is what a Go program says of itself; nil for any other file.
	program *debug.BuildInfo
}

// billOf composes the bill: the image depends on its files, and its programs on Go and on
// modules. Which module needs which other one is not known from a program, so it is not
// claimed.
func billOf(i image) *cdx.BOM {
	const root = "image"
	components := map[string]cdx.Component{} // by reference
	depends := map[string][]string{root: {}}
	for _, f := range i.files {
		component := i.component(f)
		components[component.BOMRef] = component
		depends[root] = append(depends[root], component.BOMRef)
		if f.program == nil {
			continue
		}
		for _, library := range libraries(f.program) {
			components[library.BOMRef] = library
			depends[component.BOMRef] = append(depends[component.BOMRef], library.BOMRef)
		}
	}
	bill := cdx.NewBOM()
	bill.SerialNumber = serial(i)
	bill.Metadata = &cdx.Metadata{
		Timestamp: i.Created.UTC().Format(time.RFC3339),
		Component: &cdx.Component{
			BOMRef: root, Type: cdx.ComponentTypeContainer, Name: i.Name, Version: i.Version, PackageURL: i.packageURL(),
		},
	}
	bill.Components = new(slices.SortedFunc(maps.Values(components), func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) }))
	var dependencies []cdx.Dependency
	for _, of := range slices.Sorted(maps.Keys(depends)) {
		dependencies = append(dependencies, cdx.Dependency{Ref: of, Dependencies: new(slices.Sorted(slices.Values(depends[of])))})
	}
	bill.Dependencies = &dependencies
	return bill
}

func (i image) component(f file) cdx.Component {
	component := cdx.Component{
		BOMRef: "/" + f.path, Type: cdx.ComponentTypeFile, Name: "/" + f.path,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: f.sum}},
	}
	if f.program != nil {
		component.Type, component.Name, component.Version = cdx.ComponentTypeApplication, path.Base(f.path), i.Version
		component.PackageURL = packageURL(f.program.Main.Path, i.Version)
		if below, is := strings.CutPrefix(f.program.Path, f.program.Main.Path+"/"); is {
			component.PackageURL += "#" + below
		}
	}
	return component
}

// libraries are Go's own and the modules that a program was linked with.
func libraries(program *debug.BuildInfo) []cdx.Component {
	found := []cdx.Component{library("std", strings.TrimPrefix(program.GoVersion, "go"), "")}
	for _, module := range program.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		found = append(found, library(module.Path, module.Version, module.Sum))
	}
	return found
}

// library describes a module. Its sum is go.sum's, which is no checksum of one file, and
// so has no place among the hashes that CycloneDX knows.
func library(name, version, sum string) cdx.Component {
	component := cdx.Component{
		BOMRef: packageURL(name, version), PackageURL: packageURL(name, version),
		Type: cdx.ComponentTypeLibrary, Name: name, Version: version,
	}
	if sum != "" {
		component.Properties = &[]cdx.Property{{Name: "go:sum", Value: sum}}
	}
	return component
}

// packageURL names a module as vulnerability databases do; see the package-url
// specification, type golang.
func packageURL(module, version string) string {
	return "pkg:golang/" + module + "@" + url.QueryEscape(version)
}

// packageURL names the image; see the package-url specification, type oci.
func (i image) packageURL() string {
	name := path.Base(i.Name)
	where := ""
	if name != i.Name {
		where = "&repository_url=" + i.Name
	}
	return "pkg:oci/" + name + "@" + url.QueryEscape(i.Platforms[i.platform]) + "?arch=" + path.Base(i.platform) + where
}

// serial names a bill by what it is of, in the form of a UUID (RFC 9562, version 8).
func serial(i image) string {
	all := sha256.New()
	_, _ = fmt.Fprintf(all, "%q\n", []string{i.Name, i.Version, i.platform, i.Platforms[i.platform]})
	for _, f := range i.files {
		_, _ = fmt.Fprintf(all, "%q %s\n", f.path, f.sum)
	}
	id := all.Sum(nil)[:16]
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	digits := hex.EncodeToString(id)
	return "urn:uuid:" + strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")
}
