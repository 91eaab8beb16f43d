// Package chart renders and installs the Helm chart as its users do: by Helm, at the
// version that tools/go.mod pins. The go command builds it when it is first wanted, and
// keeps it in its own cache.
package chart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Options say what to render. The zero value is the chart as it is.
type Options struct {
	// Release is the release's name; empty is [DefaultRelease].
	Release string
	// Namespace is the release's; empty is [DefaultRelease], too.
	Namespace string
	// Values are laid over the chart's own, group by group.
	Values map[string]any
}

// DefaultRelease is what the chart's README calls release and namespace.
const DefaultRelease = "ebbtide"

// Objects are what the chart makes, without its CRDs, in the order of their
// installation. Hooks are among them.
type Objects []*unstructured.Unstructured

// Render renders the chart. Nobody is asked for anything.
func Render(ctx context.Context, options Options) (Objects, error) {
	folder, err := Folder(ctx)
	if err != nil {
		return nil, err
	}
	values, err := yaml.Marshal(options.Values)
	if err != nil {
		return nil, fmt.Errorf("encoding values: %w", err)
	}
	release, namespace := options.Release, options.Namespace
	if release == "" {
		release = DefaultRelease
	}
	if namespace == "" {
		namespace = DefaultRelease
	}
	text, err := Helm(ctx, bytes.NewReader(values), "template", release, folder, "--namespace", namespace, "--values", "-")
	if err != nil {
		return nil, err
	}
	return decode(text)
}

func decode(manifests string) (Objects, error) {
	var objects Objects
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading what the chart renders: %w", err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// Of returns the objects of these kinds.
func (o Objects) Of(kinds ...string) Objects {
	return slices.DeleteFunc(slices.Clone(o), func(object *unstructured.Unstructured) bool {
		return !slices.Contains(kinds, object.GetKind())
	})
}

// YAML returns the objects as one text, as the lab's Apply takes it.
func (o Objects) YAML() (string, error) {
	var text strings.Builder
	for _, object := range o {
		document, err := yaml.Marshal(object.Object)
		if err != nil {
			return "", fmt.Errorf("encoding %s %q: %w", object.GetKind(), object.GetName(), err)
		}
		fmt.Fprintf(&text, "---\n%s", document)
	}
	return text.String(), nil
}

// Read reads the one object of a kind and a name into a value of its type.
func (o Objects) Read(kind, name string, into any) error {
	for _, object := range o.Of(kind) {
		if object.GetName() != name {
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true); err != nil {
			return fmt.Errorf("reading %s %q: %w", kind, name, err)
		}
		return nil
	}
	return fmt.Errorf("reading %s %q: the chart renders none", kind, name)
}

// Folder returns the folder of the chart. The working folder has to be inside of the
// module, as it is in every test.
func Folder(ctx context.Context) (string, error) {
	root, err := root(ctx)
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "charts", "ebbtide"), nil
}

// Helm runs Helm and returns what it writes to its standard output. Nothing of the
// user's is read, and nothing stays: a command that needs a cluster has to name its
// --kubeconfig. input may be nil.
func Helm(ctx context.Context, input io.Reader, args ...string) (string, error) {
	program, err := helm(ctx)
	if err != nil {
		return "", err
	}
	home, err := os.MkdirTemp("", "ebbtide-helm-*")
	if err != nil {
		return "", fmt.Errorf("creating a home for Helm: %w", err)
	}
	defer func() { _ = os.RemoveAll(home) }()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, program, args...)
	command.Stdin, command.Stdout, command.Stderr = input, &stdout, &stderr
	command.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "KUBECONFIG=" + filepath.Join(home, "none")} //nolint:forbidigo // Helm's environment is made of ours.
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("running helm %s: %w: %s", args[0], err, oneLine(stderr.Bytes()))
	}
	return stdout.String(), nil
}

var built struct {
	sync.Mutex
	helm string
}

// helm returns the program, which the go command builds unless it has it.
func helm(ctx context.Context) (string, error) {
	built.Lock()
	defer built.Unlock()
	if built.helm != "" {
		return built.helm, nil
	}
	root, err := root(ctx)
	if err != nil {
		return "", err
	}
	path, err := goCommand(ctx, filepath.Join(root, "tools"), "tool", "-n", "helm.sh/helm/v4/cmd/helm")
	if err != nil {
		return "", fmt.Errorf("building helm: %w", err)
	}
	built.helm = path
	return path, nil
}

// root returns the folder of the module.
func root(ctx context.Context) (string, error) {
	path, err := goCommand(ctx, "", "env", "GOMOD")
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	return filepath.Dir(path), nil
}

func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	var stderr bytes.Buffer
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir, command.Stderr = dir, &stderr
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, oneLine(stderr.Bytes()))
	}
	return strings.TrimSpace(string(output)), nil
}

func oneLine(output []byte) string { return strings.Join(strings.Fields(string(output)), " ") }
