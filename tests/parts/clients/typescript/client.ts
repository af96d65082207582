// Submits with the types that openapi-typescript generates, and prints the results as JSON.
import createClient from "openapi-fetch";
import type { components, paths } from "./generated_client.d.ts";

declare const process: { env: Record<"URL" | "TOKEN" | "TENANT" | "INPUTS", string> };

type Submission = components["schemas"]["SubmissionRequest"];

const { URL, TOKEN, TENANT, INPUTS } = process.env;
const client = createClient<paths>({ baseUrl: URL, headers: { Authorization: `Bearer ${TOKEN}` } });
const path = { tenant: TENANT };

async function result(executionId: string): Promise<unknown> {
  for (;;) {
    const { data } = await client.GET("/api/v1/tenants/{tenant}/executions/{execution_id}/result", {
      params: { path: { ...path, execution_id: executionId } },
    });
    if (data?.status === "SUCCEEDED") return data.result;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function submit(body: Submission) {
  return client.POST("/api/v1/tenants/{tenant}/executions", { params: { path }, body });
}

const inputs = JSON.parse(INPUTS) as { "tests.object": object; "tests.array": string[]; "tests.string": string };
// One by one, so that the compiler sees each type.
const submissions: Submission[] = [
  { pipelineId: "tests.object", input: inputs["tests.object"], idempotencyKey: "openapi-typescript" },
  { pipelineId: "tests.array", input: inputs["tests.array"], idempotencyKey: "openapi-typescript" },
  { pipelineId: "tests.string", input: inputs["tests.string"], idempotencyKey: "openapi-typescript" },
];
const results: unknown[] = [];
for (const submission of submissions) {
  const { data, error } = await submit(submission);
  if (error !== undefined) throw new Error(error.detail);
  results.push(await result(data.executionId));
}

const unknown: Submission = { pipelineId: "tests.unknown", input: {}, idempotencyKey: "k" };
const batch = await client.POST("/api/v1/tenants/{tenant}/executions:batch", {
  params: { path },
  body: { items: [...submissions, unknown] },
});
const { error: refused } = await submit(unknown);
console.log(
  JSON.stringify({
    results,
    batch: batch.data?.items.map(({ status, problem }) => [status, problem && problem.code]),
    refused: [refused?.status, refused?.code],
  }),
);
