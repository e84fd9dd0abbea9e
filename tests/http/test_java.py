"""Java's own HTTP client, which offers HTTP/2 with each request unless it is told otherwise."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.live import LiveServer

CLIENT = """
import java.net.URI;
import java.net.http.*;

public class Client {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        for (int number = 0; number < 5; number++) {
            var body = "{\\"name\\": \\"java " + number + "\\", \\"pipeline_type_name\\": \\"t\\"}";
            var request = HttpRequest.newBuilder(URI.create(arguments[0] + "/pipeline"))
                .header("Content-Type", "application/json").POST(HttpRequest.BodyPublishers.ofString(body)).build();
            System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
        }
    }
}
"""


@pytest.mark.skipif(shutil.which("java") is None, reason="there is no java")
def test_the_bodies_of_a_client_that_offers_http_2_are_read(live: LiveServer, tmp_path: Path) -> None:
    (tmp_path / "Client.java").write_text(CLIENT)

    ran = subprocess.run(
        ["java", str(tmp_path / "Client.java"), live.url], capture_output=True, text=True, timeout=120, check=False
    )

    assert ran.stdout.split() == ["201"] * 5, ran.stderr
