"""Every file of deploy/ is covered by a test in this folder."""

from embedded.product import PROJECT

DEPLOY = PROJECT / "deploy"
COVERED = {
    "Caddyfile": "test_caddy",
    "compose.yaml": "test_compose",
    "helm": "test_helm",
    "image": "test_image",
    "nginx.conf": "test_nginx",
    "systemd": "test_systemd",
    "prometheus": "test_prometheus",
    "grafana": "test_prometheus",
}


def test_every_file_has_a_test() -> None:
    for path in DEPLOY.iterdir():
        assert path.name in COVERED, f"deploy/{path.name} has no test"
        assert (PROJECT / "tests" / "deploy" / f"{COVERED[path.name]}.py").exists()
