package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// manifest is one object of a file or of the cluster.
type manifest struct {
	kind, name string
	// object is nil when the kind is none that explain reads.
	object runtime.Object
}

// String is how the object is called in messages.
func (m manifest) String() string { return m.kind + "/" + m.name }

// readable is the kinds that explain reads. Of every other kind a file may hold
// whatever it likes.
var readable = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion,
		&corev1.Namespace{}, &corev1.Node{}, &corev1.Pod{}, &corev1.ReplicationController{})
	scheme.AddKnownTypes(appsv1.SchemeGroupVersion,
		&appsv1.Deployment{}, &appsv1.ReplicaSet{}, &appsv1.StatefulSet{}, &appsv1.DaemonSet{})
	scheme.AddKnownTypes(batchv1.SchemeGroupVersion, &batchv1.Job{}, &batchv1.CronJob{})
	scheme.AddKnownTypes(v1alpha1.GroupVersion, &v1alpha1.PlacementPolicy{})
	return scheme
}()

// strictly decodes the readable kinds, and says which fields it does not know.
var strictly = jsonserializer.NewSerializerWithOptions(
	jsonserializer.DefaultMetaFactory, readable, readable, jsonserializer.SerializerOptions{Strict: true})

// fileReader reads the objects of one file.
type fileReader struct {
	manifests []manifest
	// notes name fields that are not known.
	notes []string
}

// readFile reads a file of YAML or JSON documents; path "-" is stdin. Errors name the
// file and the number of the document, the first being 1.
func readFile(path string, stdin io.Reader) (*fileReader, error) {
	name := cmp.Or(path, `""`)
	var (
		content []byte
		err     error
	)
	if path == "-" {
		name = "standard input"
		content, err = io.ReadAll(stdin)
	} else {
		content, err = os.ReadFile(path) //nolint:gosec // Reading the file that its user names is what -f is for.
	}
	if err != nil {
		if cause, is := errors.AsType[*fs.PathError](err); is {
			err = cause.Err // it names the path again
		}
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	r := &fileReader{}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for number := 1; ; number++ {
		place := fmt.Sprintf("%s: document %d", name, number)
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err == nil {
			err = r.document(place, document)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", place, err)
		}
	}
}

func (r *fileReader) document(place string, document []byte) error {
	values, isJSON := jsonValues(document)
	if !isJSON {
		converted, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			// The library breaks lines where it has several complaints.
			return errors.New(strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")), " "))
		}
		values = []json.RawMessage{converted}
	}
	for _, value := range values {
		if err := r.value(place, value, schema.GroupVersionKind{}); err != nil {
			return err
		}
	}
	return nil
}

// jsonValues reads one or more JSON values, one behind the other, and returns false
// for anything else.
func jsonValues(text []byte) (values []json.RawMessage, all bool) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	for {
		var value json.RawMessage
		switch err := decoder.Decode(&value); {
		case errors.Is(err, io.EOF):
			return values, len(values) > 0
		case err != nil:
			return nil, false
		}
		values = append(values, value)
	}
}

// head is what tells an object from a list.
type head struct {
	metav1.TypeMeta `json:",inline"`
	Items           []json.RawMessage `json:"items"`
}

// value reads an object or the items of a list. The kind is for a value that does not
// say its own: in a list of one kind the API leaves it out.
func (r *fileReader) value(place string, value json.RawMessage, kind schema.GroupVersionKind) error {
	if bytes.Equal(value, []byte("null")) {
		return nil // nothing but comments between two separators
	}
	var read head
	if value[0] != '{' {
		return errors.New("it is no object with fields")
	}
	if err := json.Unmarshal(value, &read); err != nil {
		return err
	}
	if read.Kind != "" || read.APIVersion != "" {
		kind = read.GroupVersionKind()
	}
	if kind.Kind == "" || kind.Version == "" {
		return errors.New("it has no apiVersion and kind")
	}
	if of, isList := strings.CutSuffix(kind.Kind, "List"); isList && read.Items != nil {
		each := schema.GroupVersionKind{}
		if of != "" {
			each = kind.GroupVersion().WithKind(of)
		}
		for i, item := range read.Items {
			if err := r.value(place, item, each); err != nil {
				return fmt.Errorf("item %d of its list: %w", i+1, err)
			}
		}
		return nil
	}
	return r.object(place, value, kind)
}

func (r *fileReader) object(place string, value []byte, kind schema.GroupVersionKind) error {
	object, _, err := strictly.Decode(value, &kind, nil)
	_, isPolicy := object.(*v1alpha1.PlacementPolicy)
	switch {
	case runtime.IsNotRegisteredError(err):
		partial := metav1.PartialObjectMetadata{}
		// It need not even have metadata: it is only to be named.
		_ = json.Unmarshal(value, &partial)
		r.manifests = append(r.manifests, manifest{kind: kind.Kind, name: partial.Name})
		return nil
	case runtime.IsStrictDecodingError(err) && !isPolicy:
		// An API server that is newer than we are may know the field.
		r.notes = append(r.notes, fmt.Sprintf("%s: passed over in the %s: %s", place, kind.Kind, strayFields(err)))
	case runtime.IsStrictDecodingError(err):
		// The policy would be taken to mean less than its author wrote.
		return fmt.Errorf("decoding a %s: %s", kind.Kind, strayFields(err))
	case err != nil:
		return fmt.Errorf("decoding a %s: %w", kind.Kind, err)
	}
	metadata, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	name := cmp.Or(metadata.GetName(), metadata.GetGenerateName())
	if name == "" {
		return fmt.Errorf("the %s has no name", kind.Kind)
	}
	r.manifests = append(r.manifests, manifest{kind: kind.Kind, name: name, object: object})
	return nil
}

// strayFields is what the decoder says of fields that it does not know.
func strayFields(err error) string { return strings.TrimPrefix(err.Error(), "strict decoding error: ") }
