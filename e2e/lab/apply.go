package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

// Apply creates the objects of a YAML text of one or more documents, in their order,
// as the administrator. Namespaced objects that name no namespace go into the given
// one. It stops at the first error; what was created before it stays. A field that
// the API does not know is an error.
func (l *Lab) Apply(ctx context.Context, namespace, manifests string) error {
	client, err := dynamic.NewForConfig(l.config)
	if err != nil {
		return fmt.Errorf("creating client: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(l.client.Discovery()))
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("decoding manifests: %w", err)
		}
		if len(object.Object) == 0 {
			continue // nothing between two separators
		}
		if err := create(ctx, client, mapper, namespace, object); err != nil {
			return fmt.Errorf("creating %s %q: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

func create(ctx context.Context, client dynamic.Interface, mapper meta.RESTMapper, namespace string, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	options := metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		_, err = client.Resource(mapping.Resource).Create(ctx, object, options)
		return err
	}
	if own := object.GetNamespace(); own != "" {
		namespace = own
	}
	_, err = client.Resource(mapping.Resource).Namespace(namespace).Create(ctx, object, options)
	return err
}
