package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// statefulSet is what the manifest of docs/integration.md may say; anything else is an error, which finds slips of the pen.
type statefulSet struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Spec       struct {
		ServiceName string `yaml:"serviceName"`
		Replicas    int
		Selector    struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Grace           int `yaml:"terminationGracePeriodSeconds"`
				SecurityContext struct {
					RunAsNonRoot bool `yaml:"runAsNonRoot"`
					RunAsUser    int  `yaml:"runAsUser"`
					FSGroup      int  `yaml:"fsGroup"`
				} `yaml:"securityContext"`
				Containers []sidecarContainer
				Volumes    []struct {
					Name      string
					ConfigMap *struct{ Name string } `yaml:"configMap"`
					EmptyDir  *struct{}              `yaml:"emptyDir"`
				}
			}
		}
		Claims []struct {
			Metadata struct{ Name string }
			Spec     struct {
				AccessModes []string `yaml:"accessModes"`
				Resources   struct{ Requests struct{ Storage string } }
			}
		} `yaml:"volumeClaimTemplates"`
	}
}

type sidecarContainer struct {
	Name  string
	Image string
	Ports []struct {
		Port int `yaml:"containerPort"`
	}
	SecurityContext struct {
		ReadOnly     bool  `yaml:"readOnlyRootFilesystem"`
		Escalation   *bool `yaml:"allowPrivilegeEscalation"`
		Capabilities struct{ Drop []string }
	} `yaml:"securityContext"`
	Mounts []struct {
		Name     string
		Path     string `yaml:"mountPath"`
		ReadOnly bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

// The manifest fits the image and the Caddyfile beside it: the user, the port, the volume, the file that the image's command
// reads, and a stop that waits as long as Caddy does.
func TestSidecarManifestFitsImageAndCaddyfile(t *testing.T) {
	t.Parallel()
	const page = "../docs/integration.md"
	manifests, files := blocks(t, page, "yaml"), blocks(t, page, "caddyfile")
	i := slices.IndexFunc(files, func(text string) bool { return strings.Contains(text, "http_port") })
	if len(manifests) != 1 || i < 0 {
		t.Fatalf("%d manifests, Caddyfile %d", len(manifests), i)
	}
	caddyfile := files[i]
	var set statefulSet
	decoder := yaml.NewDecoder(strings.NewReader(manifests[0]))
	decoder.KnownFields(true)
	if err := decoder.Decode(&set); err != nil {
		t.Fatal(err)
	}
	pod := set.Spec.Template.Spec
	labels := set.Spec.Template.Metadata.Labels
	for key, value := range set.Spec.Selector.MatchLabels {
		if labels[key] != value {
			t.Errorf("the pods have no label %s: %s", key, value)
		}
	}
	if set.Kind != "StatefulSet" || set.APIVersion != "apps/v1" || set.Spec.Replicas != 1 || set.Metadata.Name == "" {
		t.Errorf("it is %+v", set)
	}
	n := slices.IndexFunc(pod.Containers, func(c sidecarContainer) bool { return c.Name == "bentihooks" })
	if n < 0 {
		t.Fatal("no container bentihooks")
	}
	c := pod.Containers[n]

	image := readImage(t)
	if user := strconv.Itoa(pod.SecurityContext.RunAsUser); user != image.user || !pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.FSGroup == 0 {
		t.Errorf("the pod is %+v, the image's user %s", pod.SecurityContext, image.user)
	}
	if !c.SecurityContext.ReadOnly || c.SecurityContext.Escalation == nil || *c.SecurityContext.Escalation || !slices.Equal(c.SecurityContext.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("the container is %+v", c.SecurityContext)
	}
	port := setting(t, caddyfile, `http_port (\d+)`)
	if len(c.Ports) != 1 || strconv.Itoa(c.Ports[0].Port) != port || !slices.Contains(image.exposed, port) {
		t.Errorf("ports: %+v, the Caddyfile has %s, the image %v", c.Ports, port, image.exposed)
	}
	grace, err := time.ParseDuration(setting(t, caddyfile, `grace_period (\S+)`))
	if err != nil || time.Duration(pod.Grace)*time.Second <= grace {
		t.Errorf("%ds for a stop that may take %s: %v", pod.Grace, grace, err)
	}

	// What holds the volumes: claims are kept, folders are written to, maps are read only.
	kinds := make(map[string]string)
	for _, claim := range set.Spec.Claims {
		kinds[claim.Metadata.Name] = "claim"
	}
	for _, volume := range pod.Volumes {
		if volume.ConfigMap != nil {
			kinds[volume.Name] = "config"
		} else if volume.EmptyDir != nil {
			kinds[volume.Name] = "folder"
		}
	}
	mounted := make(map[string]string)
	for _, mount := range c.Mounts {
		mounted[mount.Path] = kinds[mount.Name]
		if mount.ReadOnly != (kinds[mount.Name] == "config") {
			t.Errorf("%+v of a %s", mount, kinds[mount.Name])
		}
	}
	store := setting(t, caddyfile, `store badger (\S+)`)
	if mounted[image.volume] != "claim" || mounted["/tmp"] != "folder" || mounted[filepath.Dir(image.config())] != "config" ||
		!strings.HasPrefix(store, image.volume+"/") {
		t.Errorf("mounted are %v; the image has the volume %s and reads %s; the store is at %s", mounted, image.volume, image.config(), store)
	}

	// The binary takes the image's command with this file.
	p := newProxy(t, newUpstream(t), config{})
	name := filepath.Join(p.dir, filepath.Base(image.config()))
	text := strings.ReplaceAll(caddyfile, image.volume+"/", p.dir+"/")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := slices.Clone(image.command[1:])
	args[0], args[slices.Index(args, image.config())] = "validate", name // instead of run
	if out, err := p.command(t.Context(), args...).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("Valid configuration")) {
		t.Errorf("%v: %s", err, out)
	}
}

// setting is what a pattern finds in a text.
func setting(t *testing.T, text, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in\n%s", pattern, text)
	}
	return found[1]
}
