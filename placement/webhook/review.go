package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxBody is how long a review may be, in bytes. The API server takes requests of
// 3 MiB; as JSON, with some characters escaped and with what the review says about the
// request, the largest pod that can be stored takes less than this.
const maxBody = 8 << 20

// maxKept is how large a buffer may be to be used again: one huge pod must not be
// paid for ever after.
const maxKept = 256 << 10

// review is what is read of an AdmissionReview. The API server writes the fields in
// the case that they have here, and each one once.
type review struct {
	metav1.TypeMeta `json:",inline"`
	Request         *request `json:"request"`
}

// request is what is read of an AdmissionRequest.
type request struct {
	UID         types.UID                   `json:"uid"`
	Resource    metav1.GroupVersionResource `json:"resource"`
	SubResource string                      `json:"subResource"`
	Operation   admissionv1.Operation       `json:"operation"`
	Namespace   string                      `json:"namespace"`
	DryRun      *bool                       `json:"dryRun"`
	Object      podView                     `json:"object"`
}

// creates says whether the request is one that a decision can be made about.
func (r *request) creates() bool {
	return r.Operation == admissionv1.Create && r.SubResource == "" &&
		r.Resource == metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
}

// podView is the part of a pod that [placement.Decide] reads. Nine tenths of a pod are
// environment, volumes and probes: to read them too would take longer than everything
// else that is done here. A test holds the decisions about it to those about the whole
// pod.
type podView struct {
	Metadata struct {
		Name            string                  `json:"name"`
		GenerateName    string                  `json:"generateName"`
		UID             types.UID               `json:"uid"`
		Labels          map[string]string       `json:"labels"`
		Annotations     map[string]string       `json:"annotations"`
		OwnerReferences []metav1.OwnerReference `json:"ownerReferences"`
	} `json:"metadata"`
	Spec struct {
		NodeName          string                       `json:"nodeName"`
		NodeSelector      map[string]string            `json:"nodeSelector"`
		Affinity          *affinityView                `json:"affinity"`
		Tolerations       []corev1.Toleration          `json:"tolerations"`
		PriorityClassName string                       `json:"priorityClassName"`
		InitContainers    []containerView              `json:"initContainers"`
		Containers        []containerView              `json:"containers"`
		Overhead          corev1.ResourceList          `json:"overhead"`
		Resources         *corev1.ResourceRequirements `json:"resources"`
	} `json:"spec"`
}

// affinityView leaves out the affinities to other pods.
type affinityView struct {
	NodeAffinity *corev1.NodeAffinity `json:"nodeAffinity"`
}

// containerView is the part of a container that says what the scheduler sets aside.
type containerView struct {
	Resources     corev1.ResourceRequirements    `json:"resources"`
	RestartPolicy *corev1.ContainerRestartPolicy `json:"restartPolicy"`
}

// pod returns a pod with what was read, in the namespace. The names of its containers,
// for one, were not.
func (v *podView) pod(namespace string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: v.Metadata.Name, GenerateName: v.Metadata.GenerateName, Namespace: namespace, UID: v.Metadata.UID,
			Labels: v.Metadata.Labels, Annotations: v.Metadata.Annotations, OwnerReferences: v.Metadata.OwnerReferences,
		},
		Spec: corev1.PodSpec{
			NodeName: v.Spec.NodeName, NodeSelector: v.Spec.NodeSelector, Tolerations: v.Spec.Tolerations,
			PriorityClassName: v.Spec.PriorityClassName, Overhead: v.Spec.Overhead, Resources: v.Spec.Resources,
			InitContainers: containers(v.Spec.InitContainers), Containers: containers(v.Spec.Containers),
		},
	}
	if v.Spec.Affinity != nil {
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: v.Spec.Affinity.NodeAffinity}
	}
	return pod
}

func containers(views []containerView) []corev1.Container {
	if len(views) == 0 {
		return nil
	}
	all := make([]corev1.Container, len(views))
	for i := range views {
		all[i].Resources, all[i].RestartPolicy = views[i].Resources, views[i].RestartPolicy
	}
	return all
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// errTooLarge is what [readReview] returns for a body that is longer than maxBody.
var errTooLarge = fmt.Errorf("reading a review: it has more than %d bytes", maxBody)

// readReview reads the request of a review. Whatever is no review of version v1 with a
// request that can be answered is an error.
func readReview(body io.Reader) (*request, error) {
	buffer, pooled := buffers.Get().(*bytes.Buffer)
	if !pooled {
		buffer = new(bytes.Buffer)
	}
	defer func() {
		if buffer.Cap() <= maxKept {
			buffer.Reset()
			buffers.Put(buffer)
		}
	}()
	if _, err := buffer.ReadFrom(io.LimitReader(body, maxBody+1)); err != nil {
		return nil, fmt.Errorf("reading a review: %w", err)
	}
	if buffer.Len() > maxBody {
		return nil, errTooLarge
	}
	var asked review
	if err := json.Unmarshal(buffer.Bytes(), &asked); err != nil {
		return nil, fmt.Errorf("decoding a review: %w", err)
	}
	switch {
	case asked.Kind != "AdmissionReview" || asked.APIVersion != admissionv1.SchemeGroupVersion.String():
		return nil, fmt.Errorf("decoding a review: it is %.64q of %.64q", asked.Kind, asked.APIVersion)
	case asked.Request == nil:
		return nil, errors.New("decoding a review: it has no request")
	case asked.Request.UID == "":
		return nil, errors.New("decoding a review: its request has no UID to answer to")
	}
	return asked.Request, nil
}

// answer is an AdmissionReview as the API server wants it back: to which request, and
// what is to be done.
func answer(response *admissionv1.AdmissionResponse) ([]byte, error) {
	encoded, err := json.Marshal(&admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: response,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the answer to a review: %w", err)
	}
	return encoded, nil
}
