// A Restate service of three durable steps; it listens on PORT.
import * as restate from "@restatedev/restate-sdk";

const threeSteps = restate.service({
  name: "ThreeSteps",
  handlers: {
    run: async (ctx, value) => {
      const first = await ctx.run("first", () => value + 1);
      const second = await ctx.run("second", () => first + 1);
      return await ctx.run("third", () => second + 1);
    },
  },
});

restate.serve({ services: [threeSteps], port: Number(process.env.PORT) });
